"""Train a network from a config to a finished run directory, or resume a run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, cast

from lightning_fabric import Fabric

from skipweave.data import Unreadable, exclude, load, with_normalization
from skipweave.files.atomic_write import keep_as
from skipweave.files.folder_lock import held
from skipweave.plotting.learning_curves import write_curves
from skipweave.training.callbacks import Callback, RunStart
from skipweave.training.checkpoint.run_state import best_row
from skipweave.training.checkpoint.tensor_file import Saved, open_saved
from skipweave.training.checkpoint.weights_file import Description, save_weights
from skipweave.training.compilation import resolve
from skipweave.training.cpu_memory import keep_freed_memory
from skipweave.training.distributed import torchrun
from skipweave.training.distributed.devices import resolve_precision, slow_precision_note
from skipweave.training.distributed.processes import ReportDirectory, processes
from skipweave.training.initial_state import check_same_network, first_state
from skipweave.training.learner import Learner
from skipweave.training.loop import Loop
from skipweave.training.memory_plan import within_memory
from skipweave.training.model_building import (
    arguments_for,
    count_parameters,
    count_trained_parameters,
    sketch,
)
from skipweave.training.preflight import (
    check_additions,
    check_batch,
    check_before,
    check_config,
    notes_before,
    training_steps,
)
from skipweave.training.run.experiment_loggers import make_loggers
from skipweave.training.run.records import Records
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.run.run_log import warnings_once
from skipweave.training.run.skipped_images import skipped_note, unreadable
from skipweave.training.run.summary import RunSummary, total_energy
from skipweave.training.signals import stop_requests
from skipweave.training.start_normalization import normalize_for_start
from skipweave.training.tasks.metrics import SegmentationMetrics, of_heads
from skipweave.training.tasks.task import Data, Task, task_for
from skipweave_config.errors import SkipweaveError, Stopped
from skipweave_config.fit_config import COMPUTED_FIELDS, FREE_TO_EXTEND, FitConfig, as_begun, differences
from skipweave_config.validation import validate_json


def fit(
    config: FitConfig,
    *,
    resume: Path | None = None,
    stop_after: int | None = None,
    callbacks: Sequence[Callback] = (),
    skipped_images: Sequence[Unreadable] | None = None,
    datasets: Mapping[str, Any] | None = None,
) -> RunSummary:
    """Train a network.

    Processes that torchrun restarts resume the run that they had started.

    Args:
        config: The config. The run gets a new folder in `config.output`.
        resume: Folder of a run to continue instead, from its last checkpoint to the end, as if it had never stopped;
            `config` may then differ from the run's own in where it is computed and read from
            (`fit_config.FREE_TO_CHANGE`). With more epochs, or another patience, the run is extended, finished or not:
            from there on learning rates are those of a run of so many epochs.
        stop_after: Number of epochs after which to stop, with the run saved but not finished: `resume` trains the
            others. The learning rate is that of a run of `config.epochs` throughout.
        callbacks: Called in the process of rank 0.
        skipped_images: Where `config.data.on_bad` is `skip`, the training images that cannot be read, if they have
            been found before; by default all images are read to find them.
        datasets: Your own map-style datasets of (image, label) by split: `train`, and optionally `validation` and
            `test`; `config.data.name` is `python`. PIL images and uint8 tensors (C, H, W) are resized and augmented as
            those of `folder`, float tensors are taken as they are. Labels are class indices, or 0 and 1 per class.

    Returns:
        The finished run's figures; at once if the run to resume is finished and not to be extended. After `stop_after`
        epochs those so far, without test metrics.

    Raises:
        SkipweaveError: The config, the data or the run to resume do not allow it, training diverged, or something
            cannot be written.
        Stopped: SIGTERM, SIGINT or SIGUSR1 asked for it, in the main thread; the run is saved, and the message has
            the command to resume. It is a `SystemExit`: uncaught, it ends Python with the signal's exit status.
    """
    extended = ""
    if resume is not None:
        folder = RunDirectory.reopen(resume)
        config, extended = _resumable(config, folder)
        if not extended and (finished := folder.read_summary()):
            for callback in callbacks:
                callback.on_fit_end(finished)
            return finished
    check_config(config, resumed=resume is not None)
    config = replace(config, precision=resolve_precision(config.precision, config.accelerator))
    with processes(config) as (fabric, report):
        work = partial(
            _run,
            report,
            config=config,
            resume=resume,
            extended=extended,
            stop_after=stop_after,
            callbacks=callbacks,
            skipped_images=skipped_images,
            datasets=datasets,
        )
        path, stopped, so_far = fabric.launch(work)
    if stopped:
        raise Stopped(*stopped)
    if so_far:
        return replace(validate_json(RunSummary, so_far), run_dir=Path(path))
    return _finished(RunDirectory(Path(path)))


def _resumable(config: FitConfig, folder: RunDirectory) -> tuple[FitConfig, str]:
    """The config, with the value range that the run found in its images, and how it extends the run, if it does.

    It must not differ otherwise in what affects results.
    """
    own = folder.read_config()
    found = {name: getattr(own.data, name) for name in COMPUTED_FIELDS if getattr(config.data, name) in (None, "file")}
    config = as_begun(replace(config, data=replace(config.data, **found)), own)
    different = differences(config, own)
    wrong = [text for name, text in different.items() if name not in FREE_TO_EXTEND or config.epochs < own.epochs]
    if wrong:
        raise SkipweaveError(
            f"cannot resume {folder.path} with another config ({'; '.join(wrong)}): start a new run for those"
        )
    finished = folder.read_summary()
    if finished and finished.stopped_early and list(different) == ["epochs"]:
        raise SkipweaveError(
            f"{folder.path} stopped early, after {finished.epochs} epochs: give early_stopping.patience too, 0 for none"
        )
    return config, "; ".join(different.values())


def _extension(loop: Loop, extended: str) -> str:
    """How a run is extended, and what that means for the learning rate, in a line."""
    epochs = loop.config.epochs
    if loop.finished:
        return f"extended ({extended}), but no epoch is left to train"
    rows = loop.state.rows
    last = f", after {rows[-1].lr:.3g} in epoch {rows[-1].epoch}" if rows else ""
    return (
        f"extended ({extended}): the schedule is now that of a run of {epochs} epochs; "
        f"the next step has a learning rate of {loop.learning_rate(loop.state.step):.3g}{last}"
    )


def _finished(folder: RunDirectory) -> RunSummary:
    summary = folder.read_summary()
    if summary is None:
        raise SkipweaveError(f"{folder.summary} is gone: was the run directory changed from outside?")
    return summary


# The signal that stopped the run, if one did, with its message; and the figures so far of a run that is not finished.
_Unfinished = tuple[tuple[int, str] | None, dict[str, Any] | None]


def _run(
    report: ReportDirectory,
    fabric: Fabric,
    config: FitConfig,
    resume: Path | None,
    extended: str,
    stop_after: int | None,
    callbacks: Sequence[Callback],
    skipped_images: Sequence[Unreadable] | None,
    datasets: Mapping[str, Any] | None,
) -> tuple[str, *_Unfinished]:
    """Do the work of one process; what it returns must be as simple as what Fabric sends between processes.

    Returns:
        The run directory, and why the run is not finished.
    """
    keep_freed_memory(fabric.device)
    if resume is None and torchrun.restarted() and (begun := _begun_before(fabric, config)):
        if begun.read_summary():
            return str(begun.path), None, None
        config, resume = begun.read_config(), begun.path
    callbacks = (*callbacks, *make_loggers(config)) if fabric.is_global_zero else ()
    with ExitStack() as stack:
        for callback in callbacks:
            stack.callback(callback.teardown)
        config, data, skipped, normalized = _load(fabric, config, resume, callbacks, skipped_images, datasets)
        args = arguments_for(config.model.name, config.model.args, data)
        check_before(config, args, data)
        task = task_for(data, config.loss, config.monitor)
        config, plan = (config, None) if resume else within_memory(config, args, task, data)
        check_batch(config, data)
        check_additions(config, data)
        config, compiled = (config, "") if resume else _compilation(fabric, config, args, data)
        description = Description.of(config.model.name, args, data)
        check = partial(check_same_network, ours=description)
        warning = _hold(stack, fabric, resume, check) if resume else ""
        saved, _ = RunDirectory(resume).newest(check) if resume else (None, "")
        note = "no checkpoint yet: starting from the first step" if resume and not saved else ""
        learner = Learner(fabric, config, args, task)
        state, start = first_state(config, saved, learner, description, data)
        folder = _directory(stack, fabric, config, resume, report)
        if fabric.is_global_zero:
            with folder.writing():
                folder.write_splits(data, config.data.fold)
                if config.data.on_bad == "skip":
                    folder.write_skipped(skipped)
                if extended:
                    folder.extend(config)
        records = Records(folder, description, active=fabric.is_global_zero)
        stack.enter_context(warnings_once(partial(records.log, "warning"), shown=fabric.is_global_zero))
        request = stack.enter_context(stop_requests())
        loop = Loop(learner, data, config, state, records, callbacks, request)
        notes = (
            *(warning, note, start, normalized, str(plan or ""), compiled, extended and _extension(loop, extended)),
            *notes_before(config, data),
            slow_precision_note(config.precision, fabric.device),
            *(_weights_of_classes(task, data.classes), skipped_note(skipped, folder)),
        )
        return str(folder.path), *_train(loop, notes, stop_after, skipped=len(skipped))


def _load(
    fabric: Fabric,
    config: FitConfig,
    resume: Path | None,
    callbacks: Sequence[Callback],
    skipped_images: Sequence[Unreadable] | None,
    datasets: Mapping[str, Any] | None,
) -> tuple[FitConfig, Data, list[Unreadable], str]:
    """The config with the normalization, the data, the training images that are left out of it, and a note."""

    def on_image_checked(done: int, total: int) -> None:
        for callback in callbacks:
            callback.on_image_checked(done, total)

    data: Data | None = None
    note = ""
    known = config.data
    with fabric.rank_zero_first():  # which downloads, if asked to
        if fabric.is_global_zero:
            data = load(config.data, on_image_checked, datasets)
            known = with_normalization(config.data, data)
            if resume is None:
                known, data, note = normalize_for_start(replace(config, data=known), data)
    config = replace(config, data=fabric.broadcast(known))
    data = data or load(config.data, datasets=datasets)
    skipped = unreadable(fabric, config, resume, data, on_image_checked, skipped_images)
    return config, exclude(data, skipped), skipped, note


def _hold(stack: ExitStack, fabric: Fabric, resume: Path, check: Callable[[Saved], object]) -> str:
    """Let the first process lock a run directory and repair it, before any process reads it; return a warning."""
    warning = ""
    if fabric.is_global_zero:
        stack.enter_context(held(resume))
        warning = RunDirectory(resume).repair(check)
    fabric.barrier()
    return warning


def _directory(
    stack: ExitStack, fabric: Fabric, config: FitConfig, resume: Path | None, report: ReportDirectory
) -> RunDirectory:
    """The run directory: a new one, created and locked by the first process, or that of the run to resume."""
    path = RunDirectory.create(config).path if fabric.is_global_zero and resume is None else resume
    if fabric.is_global_zero:
        report(cast(Path, path))
    directory = RunDirectory(fabric.broadcast(cast(Path, path)))
    if fabric.is_global_zero and resume is None:
        stack.enter_context(held(directory.path))
    return directory


def _begun_before(fabric: Fabric, config: FitConfig) -> RunDirectory | None:
    """The run of these processes before torchrun restarted them."""
    begun = RunDirectory.of_torchrun_job(config.output) if fabric.is_global_zero else None
    path = fabric.broadcast(begun.path if begun else None)
    return RunDirectory(path) if path else None


def _train(loop: Loop, notes: Iterable[str], stop_after: int | None, *, skipped: int) -> _Unfinished:
    """Train to the end, or as far as asked; return why the run is not finished, with the first process's message."""
    records, start = loop.records, _start(loop, filter(None, notes))
    try:
        records.begin(loop.state.rows)
        begun = "resuming" if start.epoch or start.step else "starting"
        values = {**vars(start), "run_dir": str(start.run_dir), "metric": start.metric.name}
        records.log("started", f"{begun} {start.model} on {start.data} {loop.place}", **values)
        for note in start.notes:
            records.log("note", note)
        for callback in loop.callbacks:
            callback.on_fit_start(start)
        loop.run(stop_after)
        if not loop.finished:
            loop.fabric.barrier()  # until the first process has saved
            records.log("stopped", f"stopped {loop.place}, as asked", epoch=loop.state.epoch, step=0)
            return None, _summary(loop, skipped).as_plain()
        summary = _finish(loop, skipped)
    except Stopped as stop:
        records.log("stopped", str(stop), signal=stop.signal.name, epoch=loop.state.epoch, step=loop.state.step)
        return (stop.signal.value, str(stop) if loop.fabric.is_global_zero else ""), None
    except SkipweaveError as error:
        records.log("failed", str(error))
        raise
    finally:
        records.close()
    metric, value = loop.state.metrics.metric, summary.test_value
    if summary.stopped_early:
        patience = loop.config.early_stopping.patience
        text = f"stopped early, after {summary.epochs} epochs: no better {metric.label} in {patience} epochs"
        records.log("stopped_early", text, epoch=summary.epochs)
    result = "" if value is None else f": test {metric.label} {metric.text(value)}"
    records.log("finished", f"finished{result}", **summary.as_plain())
    for callback in loop.callbacks:
        callback.on_fit_end(summary)
    return None, None


def _compilation(fabric: Fabric, config: FitConfig, args: dict[str, Any], data: Data) -> tuple[FitConfig, str]:
    """The config with what is to be compiled, and a note."""
    steps = training_steps(config, data)
    return resolve(config, sketch(config.model.name, args), device=fabric.device, steps=steps)


def _weights_of_classes(task: Task, classes: Sequence[str]) -> str:
    """The class weights in a line; empty if there are none."""
    if task.weights is None:
        return ""
    weights = zip(classes, task.weights.tolist(), strict=True)
    return "class weights: " + ", ".join(f"{name} {weight:.3f}" for name, weight in weights)


def _start(loop: Loop, notes: Iterable[str]) -> RunStart:
    data, state, fabric = loop.data, loop.state, loop.fabric
    return RunStart(
        run_dir=loop.records.folder.path,
        model=loop.config.model.name,
        parameters=count_parameters(loop.learner.network),
        trained_parameters=count_trained_parameters(loop.learner.network),
        data=data.name,
        images={name: len(images) for name, images in data.splits.items() if images},
        device=str(fabric.device),
        processes=fabric.world_size,
        metric=state.metrics.metric,
        epochs=loop.config.epochs,
        steps=loop.steps,
        epoch=state.epoch,
        step=state.step,
        notes=tuple(notes),
    )


def _finish(loop: Loop, skipped: int) -> RunSummary:
    """Choose the weights, evaluate them on the test split, and write the results."""
    config, rows, folder, learner = loop.config, loop.state.rows, loop.records.folder, loop.learner
    metric = loop.state.metrics.metric
    best = best_row(rows, metric)
    loop.fabric.barrier()  # until the first process has written the last epoch's weights, if they are the best
    if best:
        learner.load_weights(open_saved(folder.best))
    test, predictions = loop.test()
    summary = replace(_summary(loop, skipped), test_metrics={**of_heads(test), **loop.test_augmented()})
    if loop.fabric.is_global_zero:
        with folder.writing():
            if best:
                keep_as(folder.best, folder.weights)
            else:
                save_weights(folder.weights, learner.evaluated.state_dict(), loop.records.description, len(rows))
            columns, title = [row.as_columns() for row in rows], f"{config.model.name} on {loop.data.name}"
            write_curves(folder.curves, columns, metric.name, metric.axis_label, title)
            if predictions:
                folder.write_test_predictions(predictions)
            if test and isinstance(test[-1], SegmentationMetrics):
                folder.write_test_confusion(loop.data.classes, test[-1].confusion.numpy())
            folder.write_summary(summary)
    loop.fabric.barrier()  # until it is there for all
    return summary


def _summary(loop: Loop, skipped: int) -> RunSummary:
    """The figures of the epochs so far, without test metrics."""
    config, rows, network = loop.config, loop.state.rows, loop.learner.network
    metric = loop.state.metrics.metric
    best = best_row(rows, metric)
    return RunSummary(
        run_dir=loop.records.folder.path,
        model=config.model.name,
        args=config.model.args,
        seed=config.seed,
        epochs=len(rows),
        parameters=count_parameters(network),
        trained_parameters=count_trained_parameters(network),
        weights="best" if best else "last",
        metric=metric.name,
        val_metrics=best.val_metrics if best else {},
        test_metrics={},
        train_seconds=sum(row.seconds for row in rows),
        step_seconds=median(row.step_seconds for row in rows),
        phases=tuple(loop.state.phases),
        skipped=skipped,
        stopped_early=loop.stops_early,
        fold=config.data.fold,
        energy_wh=total_energy(rows),
    )
