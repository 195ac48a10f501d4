"""Train a network from settings to a finished run's folder, or go on with one that was stopped."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, cast

from lightning_fabric import Fabric

from skipweave.data import Unreadable, as_loaded, load, without
from skipweave.errors import SkipweaveError, Stopped
from skipweave.files.atomic_write import keep_as
from skipweave.files.folder_lock import held
from skipweave.training.callbacks import Progress, RunStart, Silent
from skipweave.training.checkpoint.run_state import best_row
from skipweave.training.checkpoint.tensor_file import Saved, open_saved
from skipweave.training.checkpoint.weights_file import Description, save_weights
from skipweave.training.distributed import torchrun
from skipweave.training.distributed.processes import TellFolder, in_processes
from skipweave.training.initial_state import check_own, first_state
from skipweave.training.learner import Learner
from skipweave.training.loop import Loop
from skipweave.training.memory_plan import MemoryPlan, plan_memory
from skipweave.training.model_building import arguments_for, build_network, count_parameters
from skipweave.training.preflight import check_batch, check_before, notes_before
from skipweave.training.run.learning_curves import write_curves
from skipweave.training.run.records import Records
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.run.run_log import warnings_once
from skipweave.training.run.skipped_images import count, unreadable
from skipweave.training.run.summary import RunSummary, further_scores
from skipweave.training.signals import stop_requests
from skipweave.training.tasks.task import Data, Segmentation, Task, task_for
from skipweave_config.fit_config import FOUND, FitConfig, differences


def fit(
    config: FitConfig,
    *,
    resume: Path | None = None,
    progress: Progress | None = None,
    left_out: Sequence[Unreadable] | None = None,
) -> RunSummary:
    """Train a network.

    Processes that torchrun starts again after one has died go on with the run that they had begun.

    Args:
        config: the settings. The run gets a new folder in `config.output`.
        resume: folder of a run to continue instead, from its last checkpoint to the end, as if it had never stopped;
            `config` may then differ from the run's own in where it is computed and read from only
            (`config.FREE_TO_CHANGE`).
        progress: told what happens; with several devices it must be picklable and is told in the first process.
        left_out: where `config.data.on_bad` is `skip`, the training images that cannot be read, if they have been found
            before; by default all images are read to find them.

    Returns:
        The finished run's figures; at once if the run to resume is finished.

    Raises:
        SkipweaveError: the settings, the data or the run to resume do not allow it, training diverged, or something
            cannot be written.
        Stopped: SIGTERM, SIGINT or SIGUSR1 asked for it, in the main thread; all that was done is saved, and its
            message tells how to go on. It is a `SystemExit`: uncaught, it ends Python with the signal's exit status.
    """
    progress = progress or Silent()
    if resume is not None:
        folder = RunDirectory.reopen(resume)
        config = _resumable(config, folder)
        if finished := folder.read_summary():
            progress.finished(finished)
            return finished
    work = partial(_run, config=config, resume=resume, progress=progress, left_out=left_out)
    path, stopped = in_processes(config, work)
    if stopped:
        raise Stopped(*stopped)
    return _finished(RunDirectory(Path(path)))


def _resumable(config: FitConfig, folder: RunDirectory) -> FitConfig:
    """The settings, with what the run found of the values of its images; refuses those that would make it another."""
    own = folder.read_config()
    found = {name: getattr(own.data, name) for name in FOUND if getattr(config.data, name) is None}
    config = replace(config, data=replace(config.data, **found))
    if different := differences(config, own):
        raise SkipweaveError(
            f"cannot resume {folder.path} with other settings ({'; '.join(different)}): start a new run for those"
        )
    return config


def _finished(folder: RunDirectory) -> RunSummary:
    summary = folder.read_summary()
    if summary is None:
        raise SkipweaveError(f"{folder.summary} is gone: was the run's folder changed from outside?")
    return summary


# The folder; and the signal that stopped the run, if one did, with what to tell.
_End = tuple[str, tuple[int, str] | None]


def _run(
    tell_folder: TellFolder,
    fabric: Fabric,
    config: FitConfig,
    resume: Path | None,
    progress: Progress,
    left_out: Sequence[Unreadable] | None,
) -> _End:
    """The work of one process; its answer is as simple as what Fabric hands between them must be."""
    if resume is None and torchrun.restarted() and (begun := _begun_before(fabric, config)):
        if begun.read_summary():
            return str(begun.path), None
        config, resume = begun.read_config(), begun.path
    first = fabric.is_global_zero
    shown = progress if first else Silent()
    config, data = _load(fabric, config, shown)
    skipped = unreadable(fabric, config, resume, data, shown, left_out)
    data = without(data, skipped)
    args = arguments_for(config.model.name, config.model.args, data)
    check_before(config, args, data)
    task = task_for(data, config.loss)
    config, plan = (config, None) if resume else _within_memory(config, args, task, data)
    check_batch(config.batch_size, data)
    description = Description.of(config.model.name, args, data)
    check = partial(check_own, ours=description)
    with ExitStack() as stack:
        warning = _hold(stack, fabric, resume, check) if resume else ""
        saved, _ = RunDirectory(resume).newest(check) if resume else (None, "")
        note = "no checkpoint yet: starting from the first step" if resume and not saved else ""
        learner = Learner(fabric, config, args, task)
        state = first_state(config, saved, learner, description)
        path = cast(Path, RunDirectory.create(config).path if first and resume is None else resume)
        if first:
            tell_folder(path)
        folder = RunDirectory(fabric.broadcast(path))
        if first and resume is None:
            stack.enter_context(held(folder.path))
        if first and config.data.on_bad == "skip":
            with folder.writing():
                folder.write_skipped(skipped)
        records = Records(folder, description, active=first)
        stack.enter_context(warnings_once(partial(records.tell, "warning"), shown=first))
        request = stack.enter_context(stop_requests())
        loop = Loop(learner, data, config, state, records, shown, request)
        notes = (
            *(warning, note, str(plan or "")),
            *notes_before(config, data),
            *(_weights_of_classes(task), count(skipped, folder)),
        )
        return str(folder.path), _train(loop, notes, skipped=len(skipped))


def _load(fabric: Fabric, config: FitConfig, progress: Progress) -> tuple[FitConfig, Data]:
    """The data; and the settings with what was found of its values, for which only the first process looks."""
    data: Data | None = None
    with fabric.rank_zero_first():  # which downloads, if asked to
        if fabric.is_global_zero:
            data = load(config.data, progress.checked)
    known = as_loaded(config.data, data) if data else config.data
    config = replace(config, data=fabric.broadcast(known))
    return config, data or load(config.data)


def _hold(stack: ExitStack, fabric: Fabric, resume: Path, check: Callable[[Saved], object]) -> str:
    """Let the first process keep others out of a run's folder and mend it, before any reads it; return a warning."""
    warning = ""
    if fabric.is_global_zero:
        stack.enter_context(held(resume))
        warning = RunDirectory(resume).mend(check)
    fabric.barrier()
    return warning


def _begun_before(fabric: Fabric, config: FitConfig) -> RunDirectory | None:
    """The run that these processes were at before torchrun started them again."""
    begun = RunDirectory.of_torchrun_job(config.output) if fabric.is_global_zero else None
    path = fabric.broadcast(begun.path if begun else None)
    return RunDirectory(path) if path else None


def _train(loop: Loop, notes: Iterable[str], *, skipped: int) -> tuple[int, str] | None:
    """Train to the end; or return the signal that stopped the run, with what the first process tells of it."""
    records, start = loop.records, _start(loop, filter(None, notes))
    try:
        records.begin(loop.state.rows)
        begun = "going on" if start.epoch or start.step else "beginning"
        values = {**vars(start), "run_dir": str(start.run_dir)}
        records.tell("started", f"{begun} with {start.model} on {start.data} {loop.place}", **values)
        for note in start.notes:
            records.tell("note", note)
        loop.progress.started(start)
        loop.run()
        summary = _finish(loop, skipped)
    except Stopped as stop:
        records.tell("stopped", str(stop), signal=stop.signal.name, epoch=loop.state.epoch, step=loop.state.step)
        return stop.signal.value, str(stop) if loop.fabric.is_global_zero else ""
    except SkipweaveError as error:
        records.tell("failed", str(error))
        raise
    finally:
        records.close()
        loop.progress.close()
    result = "" if summary.test_error is None else f": test error {summary.test_error:.2f} %"
    records.tell("finished", f"finished{result}", **summary.as_plain())
    loop.progress.finished(summary)
    return None


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
        limit=config.max_memory,
    )
    return replace(config, recompute=plan.recompute, batch_size=plan.batch_size * config.devices), plan


def _weights_of_classes(task: Task) -> str:
    """What the classes count, to be told; nothing where all count alike."""
    if not isinstance(task, Segmentation) or task.pixels is None:
        return ""
    weights = zip(task.classes, task.pixels.weights(), strict=True)
    return "class weights: " + ", ".join(f"{name} {weight:.3f}" for name, weight in weights)


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


def _finish(loop: Loop, skipped: int) -> RunSummary:
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
        skipped=skipped,
    )
    if loop.fabric.is_global_zero:
        with folder.writing():
            if best:
                keep_as(folder.best, folder.weights)
            else:
                save_weights(folder.weights, learner.network.state_dict(), loop.records.description, len(rows))
            write_curves(folder.curves, rows, f"{config.model.name} on {loop.data.name}")
            folder.write_summary(summary)
    loop.fabric.barrier()  # until it is there for all
    return summary
