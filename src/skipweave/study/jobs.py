"""The runs of a study: finished ones, and jobs to train."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch

from skipweave.data import Unreadable
from skipweave.study.class_results import class_metric_for, confusion_of, named_values, recalls
from skipweave.study.confidence import calibration_error_of
from skipweave.study.process_pool import Send
from skipweave.study.results import Network, Run
from skipweave.study.study_directory import StudyDirectory, read_curve
from skipweave.training import Callback, EpochRow, FitConfig, ModelConfig, RunStart, RunSummary
from skipweave.training.compilation import as_begun
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.start_normalization import normalize_for_start
from skipweave.training.tasks.predictions import Predictions
from skipweave.training.tasks.task import Data
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import differences
from skipweave_config.study_config import StudyConfig


class Trainer(Protocol):
    """Trains one network, as `skipweave.training.fit`."""

    def __call__(
        self,
        config: FitConfig,
        *,
        resume: Path | None,
        callbacks: Sequence[Callback],
        skipped_images: Sequence[Unreadable] | None,
    ) -> RunSummary:
        """Train, or resume the run in the directory `resume`."""


@dataclass(frozen=True)
class Job:
    """A run to train or to resume.

    Attributes:
        label: Of the network.
        seed: Of the run.
        config: What to train.
        resume: The run directory if it was begun before.
    """

    label: str
    seed: int
    config: FitConfig
    resume: Path | None


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
            model = ModelConfig(network.model, dict(network.args), asked.pretrained)
            fit_config = config.fit_config(model, seed, folder.place(asked, seed), asked.densify)
            fit_config = replace(fit_config, data=normalize_for_start(fit_config, data)[0])
            run_dir = folder.run_dir(asked, seed)
            summary = _begun_before(fit_config, run_dir) if run_dir else None
            if summary:
                finished.append(finished_run(network.label, seed, summary, folder, data))
            else:
                left.append(Job(network.label, seed, fit_config, run_dir))
    return finished, left


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
        energy_wh=summary.energy_wh,
    )


def _predictions(run: RunDirectory, classes: int) -> Predictions | None:
    """A run's predictions for the test split, of so many classes; None if it has none."""
    predictions = run.read_test_predictions()
    if predictions and not predictions.are_of(classes):
        raise SkipweaveError(f"damaged file: {run.test_predictions} (expected classes from 0 to {classes - 1})")
    return predictions


def train(trainer: Trainer, threads: int, skipped_images: Sequence[Unreadable], job: Job, send: Send) -> RunSummary:
    """Train one network, and send the events of its callbacks as (method, arguments)."""
    torch.set_num_threads(threads)
    return trainer(job.config, resume=job.resume, callbacks=[SendEvents(send)], skipped_images=skipped_images)


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
