"""The runs of a study: finished ones, and jobs to train."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from threading import Thread
from typing import Protocol

import torch

from skipweave.data import Unreadable
from skipweave.files.folder_lock import held
from skipweave.study.class_results import class_metric_for, confusion_of, named_values, recalls
from skipweave.study.confidence import calibration_error_of
from skipweave.study.executors.events import Send
from skipweave.study.results import Network, Run
from skipweave.study.study_directory import StudyDirectory, read_curve
from skipweave.training import Callback, EpochRow, FitConfig, ModelConfig, RunStart, RunSummary
from skipweave.training.run.run_directory import RunDirectory, newest_run
from skipweave.training.start_normalization import normalize_for_start
from skipweave.training.tasks.metrics import Metric
from skipweave.training.tasks.predictions import Predictions
from skipweave.training.tasks.task import Data
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import as_begun, differences
from skipweave_config.study_config import NetworkConfig, StudyConfig

_PATIENCE = 60.0  # seconds; the process of a lost machine may still be ending


class Trainer(Protocol):
    """Trains one network, as `skipweave.training.fit`."""

    def __call__(
        self,
        config: FitConfig,
        *,
        resume: Path | None,
        stop_after: int | None,
        callbacks: Sequence[Callback],
        skipped_images: Sequence[Unreadable] | None,
    ) -> RunSummary:
        """Train, or resume the run in the directory `resume`; stop after so many epochs, or at the end."""


@dataclass(frozen=True)
class Job:
    """A run to train or to resume.

    Attributes:
        label: Of the network.
        seed: Of the run.
        config: What to train; its `output` is the place of this run's directory only.
        stop_after: Epochs after which the run is to be stopped, to be resumed later; None to finish it.
    """

    label: str
    seed: int
    config: FitConfig
    stop_after: int | None = None


def finished_and_left(
    config: StudyConfig, networks: Sequence[Network], folder: StudyDirectory, data: Data
) -> tuple[list[Run], list[Job]]:
    """Sort the study's runs, all networks with the first seed before the next seed.

    Raises:
        SkipweaveError: An existing run was started with another config.
    """
    finished: list[Run] = []
    left: list[Job] = []
    for seed in config.seeds:
        for network, asked in zip(networks, config.networks, strict=True):
            if network.cost is None:
                continue
            job = job_of(config, network, asked, seed, folder, data)
            run_dir = newest_run(job.config.output)
            summary = _begun_before(job.config, run_dir) if run_dir else None
            if summary:
                finished.append(finished_run(network.label, seed, summary, folder, data))
            else:
                left.append(job)
    return finished, left


def job_of(
    config: StudyConfig, network: Network, asked: NetworkConfig, seed: int, folder: StudyDirectory, data: Data
) -> Job:
    """The run of a network, as planned and as asked for, from a seed."""
    model = ModelConfig(network.model, dict(network.args), asked.pretrained)
    fit_config = config.fit_config(model, seed, folder.place(asked, seed), asked)
    fit_config = replace(
        fit_config,
        data=normalize_for_start(fit_config, data)[0],
        batch_size=network.batch_size or config.batch_size,
        grad_checkpointing=network.grad_checkpointing,
        max_memory=None,  # which the study's plan has seen to
    )
    return Job(network.label, seed, fit_config)


def _begun_before(config: FitConfig, run_dir: Path) -> RunSummary | None:
    """The summary of a run if it is finished; it must have the same config."""
    run = RunDirectory(run_dir)
    begun = run.read_config()
    if different := differences(as_begun(config, begun), begun):
        raise SkipweaveError(
            f"{run_dir} was started with another config ({'; '.join(different.values())}): "
            f"use another --output, or that config"
        )
    return run.read_summary()


def finished_run(label: str, seed: int, summary: RunSummary, folder: StudyDirectory, data: Data) -> Run:
    """The results of a finished run, its learning curve and its predictions for the test split.

    Raises:
        SkipweaveError: A file of the run is damaged.
    """
    run_dir = Path(summary.run_dir)
    run, classes = RunDirectory(run_dir), data.classes
    predictions = _predictions(run, len(classes))
    return Run(
        label,
        seed,
        folder.relative(run_dir),
        summary.test_value,
        summary.train_seconds,
        curve=read_curve(run_dir, summary.metric),
        exit_values=summary.test_exit_values,
        predictions=predictions,
        class_values=recalls(predictions, len(classes))
        if predictions
        else named_values(summary.test_metrics, class_metric_for(data), classes),
        confusion=confusion_of(predictions, len(classes)) if predictions else run.read_test_confusion(classes),
        calibration_error=calibration_error_of(predictions),
        tta_value=summary.tta_value,
        energy_wh=summary.energy_wh,
    )


def begun_run(job: Job, folder: StudyDirectory, metric: Metric) -> Run | None:
    """What a run reached that was begun before; None without a finished epoch."""
    begun = newest_run(job.config.output)
    curve = read_curve(begun, metric.name) if begun else ()
    if not begun or not curve:
        return None
    seconds = sum(point.seconds for point in curve)
    return Run(job.label, job.seed, folder.relative(begun), train_seconds=seconds, curve=curve)


def _predictions(run: RunDirectory, classes: int) -> Predictions | None:
    """A run's predictions for the test split, of so many classes; None if it has none."""
    predictions = run.read_test_predictions()
    if predictions and not predictions.are_of(classes):
        raise SkipweaveError(f"damaged file: {run.test_predictions} (expected classes from 0 to {classes - 1})")
    return predictions


def train(trainer: Trainer, threads: int, skipped_images: Sequence[Unreadable], job: Job, send: Send) -> RunSummary:
    """Train one network, or resume its run, and send the events of its callbacks as (method, arguments)."""
    torch.set_num_threads(threads)
    with _across_processes(send) if job.config.devices > 1 else nullcontext(send) as forward:
        return train_or_resume(trainer, skipped_images, job, [SendEvents(forward)])


def train_or_resume(
    trainer: Trainer, skipped_images: Sequence[Unreadable], job: Job, callbacks: Sequence[Callback]
) -> RunSummary:
    """Train one network; what was begun, in whatever process and machine, is resumed, and not repeated if finished.

    Raises:
        SkipweaveError: Another process trains it, it was begun with another config, or as `trainer` does.
    """
    place = job.config.output
    place.mkdir(parents=True, exist_ok=True)
    with held(place, patience=_PATIENCE):
        begun = newest_run(place)
        if begun and (finished := _begun_before(job.config, begun)):
            return finished
        return trainer(
            job.config,
            resume=begun,
            stop_after=job.stop_after,
            callbacks=callbacks,
            skipped_images=skipped_images,
        )


@contextmanager
def _across_processes(send: Send) -> Iterator[Send]:
    """A picklable function for the processes of a run, whose values are passed on to `send` here."""
    here, there = get_context("spawn").Pipe(duplex=False)

    def pass_on() -> None:
        with here, suppress(EOFError, ConnectionError):  # without a receiver, the processes end at their next event
            while True:
                send(here.recv())

    thread = Thread(target=pass_on)
    thread.start()
    try:
        yield there.send
    finally:
        there.close()  # with the processes ended, this is the end of the pipe
        thread.join()


class SendEvents(Callback):
    """Callback that forwards a run's events to another process."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def on_fit_start(self, start: RunStart) -> None:
        """Send the event."""
        self._send(("on_fit_start", (start,)))

    def on_step_end(self, epoch: int, step: int) -> None:
        """Send the event."""
        self._send(("on_step_end", (epoch, step)))

    def on_epoch_end(self, row: EpochRow) -> None:
        """Send the event."""
        self._send(("on_epoch_end", (row,)))
