"""The runs of a study: which are finished, which are left, and how one is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from skipweave.data import Unreadable
from skipweave.errors import SkipweaveError
from skipweave.study.process_pool import Tell
from skipweave.study.results import Network, Run
from skipweave.study.study_directory import StudyDirectory, read_curve
from skipweave.training import EpochRow, FitConfig, ModelConfig, Progress, RunStart, RunSummary
from skipweave.training.run.run_directory import RunDirectory
from skipweave_config.fit_config import differences
from skipweave_config.study_config import StudyConfig


class Trainer(Protocol):
    """Trains one network: `skipweave.training.fit`, or what tests put in its place."""

    def __call__(
        self,
        config: FitConfig,
        *,
        resume: Path | None,
        progress: Progress | None,
        left_out: Sequence[Unreadable] | None,
    ) -> RunSummary:
        """Train, or go on with the run in the folder `resume`."""


@dataclass(frozen=True)
class Job:
    """One run that is still to do, or to go on with.

    Attributes:
        label: of the network.
        seed: of the run.
        config: what to train.
        resume: the run's folder if it was begun before.
    """

    label: str
    seed: int
    config: FitConfig
    resume: Path | None


def finished_and_left(
    config: StudyConfig, networks: Sequence[Network], folder: StudyDirectory
) -> tuple[list[Run], list[Job]]:
    """Sort the study's runs, all networks with the first seed before the next seed.

    Raises:
        SkipweaveError: a run that is there was begun with other settings.
    """
    finished: list[Run] = []
    left: list[Job] = []
    for seed in config.seeds:
        for network, asked in zip(networks, config.networks, strict=True):
            if network.cost is None:
                continue
            model = ModelConfig(network.model, dict(network.args))
            fit_config = config.fit_config(model, seed, folder.place(asked, seed), asked.densify)
            run_dir = folder.run_dir(asked, seed)
            summary = _begun_before(fit_config, run_dir) if run_dir else None
            if summary:
                finished.append(finished_run(network.label, seed, summary, folder))
            else:
                left.append(Job(network.label, seed, fit_config, run_dir))
    return finished, left


def _begun_before(config: FitConfig, run_dir: Path) -> RunSummary | None:
    """The figures of a run if it is finished; refuses one of another recipe."""
    run = RunDirectory(run_dir)
    if different := differences(config, run.read_config()):
        raise SkipweaveError(
            f"{run_dir} was begun with other settings ({'; '.join(different)}): "
            "give another --output, or those settings"
        )
    return run.read_summary()


def finished_run(label: str, seed: int, summary: RunSummary, folder: StudyDirectory) -> Run:
    """The figures of a finished run, and its learning curve."""
    run_dir = Path(summary.run_dir)
    return Run(
        label,
        seed,
        folder.relative(run_dir),
        summary.test_error,
        summary.train_seconds,
        curve=read_curve(run_dir),
        exit_errors=summary.test_exit_errors,
    )


def train(trainer: Trainer, threads: int, left_out: Sequence[Unreadable], job: Job, tell: Tell) -> RunSummary:
    """Train one network, telling its progress.

    Args:
        trainer: does it.
        threads: of torch, on the CPU.
        left_out: training images that cannot be read.
        job: what to train.
        tell: passes on (what, values): `started`, `stepped` or `epoch_done`.
    """
    torch.set_num_threads(threads)
    return trainer(job.config, resume=job.resume, progress=Teller(tell), left_out=left_out)


class Teller:
    """A run's progress as plain messages, which can travel between processes."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def checked(self, done: int, total: int) -> None:
        """Tell nothing while images are read through."""

    def started(self, start: RunStart) -> None:
        """Before the first step of this session."""
        self._tell(("started", (start,)))

    def stepped(self, epoch: int, step: int, loss: float) -> None:
        """After each step."""
        self._tell(("stepped", (epoch, step)))

    def epoch_done(self, row: EpochRow) -> None:
        """After each epoch."""
        self._tell(("epoch", (row,)))

    def finished(self, summary: RunSummary) -> None:
        """At the end; the figures come back as the result."""

    def close(self) -> None:
        """There is nothing to close."""
