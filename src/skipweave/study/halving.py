"""Successive halving: train a study's networks rung by rung, and stop those with a worse validation metric."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from skipweave.study.jobs import Job, begun_run
from skipweave.study.results import Results, Run, Rung, Standing
from skipweave.study.study_directory import StudyDirectory
from skipweave.study.tables import rounded, write_table
from skipweave.training.tasks.metrics import Metric
from skipweave_config.study_config import StudyConfig

#: Runs by label and seed.
Runs = dict[tuple[str, int], Run]


def train_to_rungs(
    config: StudyConfig,
    jobs: Sequence[Job],
    runs: Runs,
    train: Callable[[Sequence[Job]], None],
    on_rung: Callable[[Rung, int], None],
    *,
    folder: StudyDirectory,
    metric: Metric,
) -> tuple[list[Job], tuple[Rung, ...]]:
    """Train all networks up to each rung, and stop those that do not stay.

    What stays depends on the values at the rungs alone, however far the runs were trained before; so a study that is
    resumed decides as before.

    Args:
        config: The study.
        jobs: The runs that are not finished.
        runs: The finished ones; what becomes of the others is added, and runs of stopped networks end at their rung.
        train: Trains jobs and adds their runs to `runs`.
        on_rung: Called with each rung, when it is decided, and the number of runs that end there.
        folder: The study directory.
        metric: What the networks are compared by.

    Returns:
        The jobs to train to the end, and the rungs.
    """
    rungs: list[Rung] = []
    left = list(jobs)
    labels = [network.title for network in config.networks]
    labels = [label for label in labels if any(name == label for name, _ in (*runs, *map(_name, left)))]
    epochs = config.halving.rungs(config.epochs)
    if epochs:
        runs |= {_name(job): begun for job in left if (begun := begun_run(job, folder, metric))}
    for epoch in epochs:
        if len(labels) < 2:
            break
        train([replace(job, stop_after=epoch) for job in left if not _reached(runs.get(_name(job)), epoch)])
        rungs.append(
            decide(epoch, {label: _of_network(runs, label) for label in labels}, config.halving.factor, metric)
        )
        labels = [standing.label for standing in rungs[-1].standings if standing.stays]
        on_rung(rungs[-1], _end(runs, rungs[-1]))
        left = [job for job in left if job.label in labels and runs[_name(job)].value is None]
    return left, tuple(rungs)


def decide(epoch: int, runs: Mapping[str, Sequence[Run]], factor: int, metric: Metric) -> Rung:
    """The rung after an epoch: of n networks the best n / factor, rounded up, stay.

    Args:
        epoch: Number of epochs.
        runs: All runs of each network, by label; a network with a failed run has no mean and does not stay.
        factor: By which the number of networks falls.
        metric: Whose validation value after so many epochs is compared, as a mean over seeds; of equal ones the first.
    """
    means = {label: _mean(own, epoch) for label, own in runs.items()}
    values = {label: mean for label, mean in means.items() if mean is not None}
    ranked = sorted(values, key=lambda label: metric.rank(values[label]))
    staying = ranked[: -(-len(runs) // factor)]
    failed = [label for label in runs if label not in values]
    return Rung(epoch, tuple(Standing(label, means[label], label in staying) for label in (*ranked, *failed)))


def _mean(runs: Sequence[Run], epoch: int) -> float | None:
    values = [None if run.failure else run.val_value(epoch) for run in runs]
    known = [value for value in values if value is not None and math.isfinite(value)]
    return fmean(known) if known and len(known) == len(values) else None


def _name(job: Job) -> tuple[str, int]:
    return job.label, job.seed


def _of_network(runs: Runs, label: str) -> list[Run]:
    return [run for run in runs.values() if run.label == label]


def _reached(run: Run | None, epoch: int) -> bool:
    """Whether a run was trained for so many epochs, or has finished before."""
    return run is not None and (run.value is not None or run.curve[-1].epoch >= epoch)


def _end(runs: Runs, rung: Rung) -> int:
    """Let the runs of networks that do not stay end at the rung, also those that were trained further before.

    Returns:
        The number of those that were not finished.
    """
    labels = {standing.label for standing in rung.standings if not standing.stays}
    ended = {name: run for name, run in runs.items() if run.label in labels and not run.failure}
    for name, run in ended.items():
        curve = tuple(point for point in run.curve if point.epoch <= rung.epoch)
        seconds = sum(point.seconds for point in curve)
        runs[name] = Run(*name, run.run_dir, train_seconds=seconds, curve=curve, stopped_after=rung.epoch)
    return sum(run.value is None for run in ended.values())


def rung_text(rung: Rung, metric: Metric) -> str:
    """The networks that a rung stopped, with their values, in a line."""
    stopped = [f"{one.label} ({metric.text(one.value)})" for one in rung.stopped if one.value is not None]
    epochs = f"after {rung.epoch} epoch{'s' * (rung.epoch > 1)}"
    return f"{epochs} by mean validation {metric.label}: {', '.join(stopped) or 'none'}"


def write_rungs(path: Path, results: Results) -> None:
    """Write halving.csv, one row per network and rung, best first."""
    rows = [
        {
            "epoch": rung.epoch,
            "rank": rank,
            "label": standing.label,
            f"mean_val_{results.metric.name}": rounded(standing.value),
            "stays": standing.stays,
        }
        for rung in results.rungs
        for rank, standing in enumerate(rung.standings, start=1)
    ]
    write_table(path, rows)
