"""Single runs of a study, for schedulers of other kinds: what is planned, how far each run is, and training of one."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from skipweave.files.folder_lock import held, is_held
from skipweave.study.jobs import finished_and_left, job_of, train_or_resume
from skipweave.study.plan import plan_networks
from skipweave.study.preparation import prepare
from skipweave.study.results import Network
from skipweave.study.study_directory import StudyDirectory
from skipweave.training import Callback, RunSummary, fit
from skipweave.training.run.run_directory import RunDirectory, newest_run
from skipweave.training.signals import stop_requests
from skipweave_config.config_files import read
from skipweave_config.errors import SkipweaveError
from skipweave_config.study_config import NetworkConfig, StudyConfig


@dataclass(frozen=True)
class PlannedRun:
    """A run of a study's plan.

    Attributes:
        index: Its place in the plan: all networks with the first seed come before the next seed.
        network: What to train.
        seed: Of the run.
    """

    index: int
    network: NetworkConfig
    seed: int


@dataclass(frozen=True)
class RunStatus:
    """How far a run is.

    Attributes:
        run: The run.
        state: `done`; `running`, in a process that locks its directory; `begun`, but not locked, so stopped or on a
            machine whose locks are not seen here; or `left`.
        epochs: Done so far.
        written: Seconds since something was written; None if it is left.
        value: The study's metric on the test split; None before the run is done.
        metric: The name of that metric; empty before the run is done.
    """

    run: PlannedRun
    state: Literal["done", "running", "begun", "left"]
    epochs: int = 0
    written: float | None = None
    value: float | None = None
    metric: str = ""


def planned_runs(config: StudyConfig) -> list[PlannedRun]:
    """The runs of a study, in the order of their indices."""
    pairs = [(network, seed) for seed in config.seeds for network in config.networks]
    return [PlannedRun(index, *pair) for index, pair in enumerate(pairs)]


def read_plan(folder: Path) -> StudyConfig:
    """The config of the study in a directory, with that directory as its output.

    Raises:
        SkipweaveError: There is none, or it is damaged.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise SkipweaveError(f"{folder} has no config.yaml: expected the directory of `skipweave study plan`")
    return replace(read(StudyConfig, path), output=folder)


def write_plan(config: StudyConfig) -> tuple[Network, ...]:
    """Write the config of a study into its directory, without training.

    Returns:
        The networks, with their costs.

    Raises:
        SkipweaveError: The study halves its networks, no network can be built, the data cannot be read or has no test
            split, or the directory has runs of another config or cannot be written.
    """
    _check_no_halving(config)
    prepared, folder = prepare(config), StudyDirectory(config.output)
    networks = plan_networks(prepared.config, prepared.data)
    with held(folder.path):
        finished_and_left(prepared.config, networks, folder, prepared.data)
        folder.write_config(prepared.config)
    return networks


def run_single(config: StudyConfig, index: int, callbacks: Sequence[Callback] = ()) -> RunSummary:
    """Train one run of a study, or resume it; a finished one is not trained again.

    Raises:
        SkipweaveError: There is no run of this index, another process trains it, or as `skipweave.training.fit`.
        Stopped: A signal asked for it; the run is saved.
    """
    _check_no_halving(config)
    runs = planned_runs(config)
    if index >= len(runs):
        raise SkipweaveError(f"index is {index}: expected 0 to {len(runs) - 1}, as the plan has {len(runs)} runs")
    run = runs[index]
    torch.set_num_threads(config.resources.cpus or 1)  # as in a study, since results depend on it
    with stop_requests(pass_on=True):
        prepared = prepare(replace(config, networks=[run.network], seeds=[run.seed]))
        (network,) = plan_networks(prepared.config, prepared.data)
        folder = StudyDirectory(config.output)
        job = job_of(prepared.config, network, run.network, run.seed, folder, prepared.data)
        return train_or_resume(fit, prepared.skipped_images, job, callbacks)


def _check_no_halving(config: StudyConfig) -> None:
    if config.halving.min_epochs:
        raise SkipweaveError(
            f"halving.min_epochs is {config.halving.min_epochs}: single runs do not know which networks to stop; use "
            f"skipweave study, or --halving.min_epochs 0"
        )


def status_of(config: StudyConfig) -> list[RunStatus]:
    """How far each run of a study is, by the files in its directory."""
    folder = StudyDirectory(config.output)
    return [_status(run, folder.place(run.network, run.seed)) for run in planned_runs(config)]


def _status(run: PlannedRun, place: Path) -> RunStatus:
    path = newest_run(place)
    if path is None:
        return RunStatus(run, "running" if place.is_dir() and is_held(place) else "left")
    directory = RunDirectory(path)
    epochs = len(directory.read_metrics())
    written = time.time() - max(file.stat().st_mtime for file in (path, directory.log) if file.exists())
    if summary := directory.read_summary():
        return RunStatus(run, "done", epochs, written, summary.test_value, summary.metric)
    return RunStatus(run, "running" if is_held(place) else "begun", epochs, written)
