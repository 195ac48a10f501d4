"""Train a network from settings to a finished run's folder, or go on with one that was stopped."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from statistics import median
from typing import Any, Literal, cast

from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException
from torch.nn.parallel import DistributedDataParallel

from skipweave.data import load
from skipweave.errors import SkipweaveError
from skipweave.training.byte_sizes import parse_bytes
from skipweave.training.checkpoint import Saved, open_saved
from skipweave.training.config import FitConfig, differences
from skipweave.training.curves import write_curves
from skipweave.training.devices import make_fabric
from skipweave.training.files import keep_as
from skipweave.training.learner import NETWORK, Learner, check_moments
from skipweave.training.loop import Loop
from skipweave.training.memory_plan import MemoryPlan, plan_memory
from skipweave.training.network import arguments_for, build_network, count_parameters
from skipweave.training.progress import Progress, RunStart, Silent
from skipweave.training.records import CHECKPOINT, Records
from skipweave.training.run_folder import RunFolder
from skipweave.training.state import RunState, best_row
from skipweave.training.summary import RunSummary, further_scores
from skipweave.training.task import Data, Segmentation, Task, task_for
from skipweave.training.weights import WEIGHTS, Description, save_weights

# Each process keeps its own running statistics until they are evaluated; older versions of torch have another name.
_NEW_NAME = "forward_sync_buffers" in signature(DistributedDataParallel).parameters
_OWN_STATISTICS: dict[str, Any] = {"forward_sync_buffers" if _NEW_NAME else "broadcast_buffers": False}

# What they say of processes, in every process: a banner, and that the others end when one ends.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)


def fit(config: FitConfig, *, resume: Path | None = None, progress: Progress | None = None) -> RunSummary:
    """Train a network.

    Args:
        config: the settings. The run gets a new folder in `config.output`.
        resume: folder of a run to continue instead, from its last checkpoint to the end, as if it had never stopped;
            `config` may then differ from the run's own in where it is computed and read from only
            (`config.FREE_TO_CHANGE`).
        progress: told what happens; with several devices it must be picklable and is told in the first process.

    Returns:
        The finished run's figures; at once if the run to resume is finished.

    Raises:
        SkipweaveError: the settings, the data or the run to resume do not allow it, or training diverged.
    """
    progress = progress or Silent()
    if resume is not None and (finished := _check_resumable(config, RunFolder.reopen(resume))):
        progress.finished(finished)
        return finished
    fabric = _fabric(config)
    with _errors_of_processes():
        work = partial(_run, config=config, resume=resume, progress=progress)
        return _finished(RunFolder(Path(fabric.launch(work))))


def _check_resumable(config: FitConfig, folder: RunFolder) -> RunSummary | None:
    """The run's figures if it is finished; refuses settings that would make it another run."""
    if different := differences(config, folder.read_config()):
        raise SkipweaveError(
            f"cannot resume {folder.path} with other settings ({'; '.join(different)}): start a new run for those"
        )
    return folder.read_summary()


def _finished(folder: RunFolder) -> RunSummary:
    summary = folder.read_summary()
    if summary is None:
        raise SkipweaveError(f"{folder.summary} is gone: was the run's folder changed from outside?")
    return summary


def _fabric(config: FitConfig) -> Fabric:
    """One device as it is; several by data parallelism, their processes started by Fabric or already by torchrun."""
    by_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    if config.devices == 1 and not by_torchrun:
        return make_fabric(config.accelerator, precision=config.precision)
    start: Literal["popen", "spawn"] = "popen" if by_torchrun else "spawn"
    some_unused = config.loss.heads == "last" or config.loss.last_epochs > 0  # heads that count nothing
    strategy = DDPStrategy(start_method=start, find_unused_parameters=some_unused, **_OWN_STATISTICS)
    return make_fabric(config.accelerator, devices=config.devices, precision=config.precision, strategy=strategy)


def _run(fabric: Fabric, config: FitConfig, resume: Path | None, progress: Progress) -> str:
    """The work of one process; its answer, the run's folder, is as simple as what Fabric hands between them must be."""
    with fabric.rank_zero_first():  # which downloads, if asked to
        data = load(config.data)
    args = arguments_for(config.model.name, config.model.args, data)
    task = task_for(data, config.loss)
    config, plan = (config, None) if resume else _within_memory(config, args, task, data)
    if len(data.train) < config.batch_size:
        raise SkipweaveError(
            f"batch_size is {config.batch_size}, but there are only {len(data.train)} training images: "
            f"give a batch_size of at most that"
        )
    description = Description.of(config.model.name, args, data)
    saved, warning = RunFolder(resume).newest(partial(_check_own, ours=description)) if resume else (None, "")
    learner = Learner(fabric, config, args, task)
    if saved:
        learner.load_state(saved)
        state = RunState.from_plain(saved.info.get("state"), task.scores())
    else:
        state = RunState(task.scores())
        warning = "no checkpoint yet: starting from the first step" if resume else ""
        if config.start:
            _start_from(config.start, learner, description)
    first = fabric.is_global_zero
    path = RunFolder.create(config).path if first and resume is None else resume
    folder = RunFolder(cast(Path, fabric.broadcast(path)))
    records = Records(folder, description, active=first)
    loop = Loop(learner, data, config, state, records, progress if first else Silent())
    records.begin(state.rows)
    loop.progress.started(_start(loop, filter(None, (warning, str(plan or ""), _weights_of_classes(task)))))
    loop.run()
    records.close()
    summary = _finish(loop)
    loop.progress.finished(summary)
    return str(folder.path)


def _within_memory(
    config: FitConfig, args: dict[str, Any], task: Task, data: Data
) -> tuple[FitConfig, MemoryPlan | None]:
    """The settings as they fit `max_memory`, and what was chosen for it."""
    if config.max_memory is None:
        return config, None
    plan = plan_memory(
        partial(build_network, config.model.name, args),
        task,
        config.optim,
        (data.in_chans, *data.image_size),
        batch_size=config.batch_size // config.devices,
        limit=parse_bytes(config.max_memory),
    )
    return replace(config, recompute=plan.recompute, batch_size=plan.batch_size * config.devices), plan


def _weights_of_classes(task: Task) -> str:
    """What the classes count, to be told; nothing where all count alike."""
    if not isinstance(task, Segmentation) or task.pixels is None:
        return ""
    weights = zip(task.classes, task.pixels.weights(), strict=True)
    return "class weights: " + ", ".join(f"{name} {weight:.3f}" for name, weight in weights)


def _start_from(path: Path, learner: Learner, ours: Description) -> None:
    """Take over the weights of another run's network."""
    saved = open_saved(path)
    if saved.info.get("format") != WEIGHTS:
        raise SkipweaveError(f"start is {path}: expected a file of weights, such as a run's model.safetensors")
    theirs = Description.from_plain(saved.info.get("description"), path)
    if theirs.classes != ours.classes:
        raise SkipweaveError(
            f"start is {path}, whose classes {theirs.classes} are not those of the data: {ours.classes}"
        )
    learner.load_weights(saved)


def _check_own(saved: Saved, ours: Description) -> None:
    """Refuse a checkpoint that is not of this run's network, before memory is taken for either."""
    if saved.info.get("format") != CHECKPOINT:
        raise SkipweaveError(f"not a checkpoint: {saved.path}")
    theirs = Description.from_plain(saved.info.get("description"), saved.path)
    if theirs != ours:
        raise SkipweaveError(
            f"{saved.path} is of {theirs.model} with {theirs.args} on {theirs.data}: "
            f"expected {ours.model} with {ours.args} on {ours.data}, as config.yaml says"
        )
    check_moments(saved, ours.expect(saved, NETWORK))


def _start(loop: Loop, notes: Iterable[str]) -> RunStart:
    data, state, fabric = loop.data, loop.state, loop.fabric
    splits = {"train": data.train, "validation": data.val, "test": data.test}
    return RunStart(
        run_dir=loop.records.folder.path,
        model=loop.config.model.name,
        parameters=count_parameters(loop.learner.network),
        data=data.name,
        images={name: len(images) for name, images in splits.items() if images},
        device=str(fabric.device),
        processes=fabric.world_size,
        epochs=loop.config.epochs,
        steps=loop.steps,
        epoch=state.epoch,
        step=state.step,
        notes=tuple(notes),
    )


def _finish(loop: Loop) -> RunSummary:
    """Choose the weights, test them, and write what is written once."""
    config, rows, folder, learner = loop.config, loop.state.rows, loop.records.folder, loop.learner
    best = best_row(rows)
    loop.fabric.barrier()  # until the first process has written the last epoch's weights, if they are the best
    if best:
        learner.load_weights(open_saved(folder.best))
    test = loop.evaluate(loop.data.test) if loop.data.test else []
    summary = RunSummary(
        run_dir=folder.path,
        model=config.model.name,
        args=config.model.args,
        seed=config.seed,
        epochs=len(rows),
        parameters=count_parameters(learner.network),
        weights="best" if best else "last",
        val_error=best.val_error if best else None,
        test_error=test[-1].error if test else None,
        test_scores=further_scores(test),
        train_seconds=sum(row.seconds for row in rows),
        step_seconds=median(row.step_seconds for row in rows),
        phases=tuple(loop.state.phases),
    )
    if loop.fabric.is_global_zero:
        if best:
            keep_as(folder.best, folder.weights)
        else:
            save_weights(folder.weights, learner.network.state_dict(), loop.records.description, len(rows))
        write_curves(folder.curves, rows, f"{config.model.name} on {loop.data.name}")
        folder.write_summary(summary)
    return summary


@contextmanager
def _errors_of_processes() -> Iterator[None]:
    """Tell a user's mistake that a process met as if it had been met here, and that a process was killed."""
    try:
        yield
    except ProcessExitedException as error:
        raise SkipweaveError(f"{error}: the run can be continued, resume it by its folder") from None
    except ProcessRaisedException as error:
        last = str(error).rstrip().splitlines()[-1]
        kind = f"{SkipweaveError.__module__}.{SkipweaveError.__qualname__}: "
        if not last.startswith(kind):
            raise
        raise SkipweaveError(last.removeprefix(kind)) from None
