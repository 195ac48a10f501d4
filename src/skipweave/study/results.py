"""Results of a study: networks, runs, statistics over seeds, and two CSV files."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from skipweave.files.atomic_write import as_csv, write_text
from skipweave.study.spread import Spread, pooled_spread
from skipweave.training.tasks.metrics import TOP1_ERROR, Metric
from skipweave.training.tasks.predictions import Predictions


@dataclass(frozen=True)
class Cost:
    """Cost of a network, known before training.

    Attributes:
        parameters: Learnable parameters.
        macs: Multiply-accumulate operations of one image's forward pass.
        links: Nodes read by all units, summed over stages.
        max_distance: Longest back-propagation distance between any two nodes of the network, in links; transitions add
            none. Infinite where a node has no way back, 0 for networks without a known topology.
        mean_distance: The mean over all such pairs.
        exit_macs: Multiply-accumulates until each exit, the last head included; empty for a network without exits.
    """

    parameters: int
    macs: int
    links: int
    max_distance: float
    mean_distance: float
    exit_macs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Network:
    """One network of a study, with its overrides as trained (after cost matching).

    Attributes:
        label: What tables and plots call it; unique in the study.
        model: Registered model name.
        args: Overrides given to `skipweave.create_model`, without classes and channels: those follow from the data.
        cost: None when the network could not be built.
        failure: The one-line reason why it could not be built, else empty.
        devices: Number of devices of each run.
        batch_size: Images per step, over all devices; None when the network could not be built.
        grad_checkpointing: Whether it is trained with activation checkpointing.
    """

    label: str
    model: str
    args: Mapping[str, Any]
    cost: Cost | None = None
    failure: str = ""
    devices: int = 1
    batch_size: int | None = None
    grad_checkpointing: bool = False


@dataclass(frozen=True)
class Epoch:
    """One point of a learning curve: the loss, and the study's metric; None where there is no such split."""

    epoch: int
    train_loss: float
    train_value: float | None
    val_value: float | None
    seconds: float = 0.0


@dataclass(frozen=True)
class Run:
    """One training of one network from one seed.

    Attributes:
        value: The study's metric on the test split; None when the run failed or is not finished.
        exit_values: That of each early exit, in order.
        train_seconds: Wall-clock seconds of training; None when the run failed.
        failure: One-line reason, empty when the run finished.
        curve: One entry an epoch.
        predictions: For the test images; None where the run has none, or the run failed.
        stopped_after: Epochs after which successive halving stopped the network; None if it did not.
    """

    label: str
    seed: int
    run_dir: str
    value: float | None = None
    train_seconds: float | None = None
    failure: str = ""
    curve: tuple[Epoch, ...] = ()
    exit_values: tuple[float, ...] = ()
    predictions: Predictions | None = field(default=None, compare=False, repr=False)
    stopped_after: int | None = None

    def val_value(self, epoch: int) -> float | None:
        """The study's metric on the validation split after an epoch, or after the last one before it."""
        return next((point.val_value for point in reversed(self.curve) if point.epoch <= epoch), None)


@dataclass(frozen=True)
class Standing:
    """A network at a rung of successive halving.

    Attributes:
        label: The network.
        value: Mean over seeds of the study's metric on the validation split; None where a run failed.
        stays: Whether the network is trained further.
    """

    label: str
    value: float | None
    stays: bool


@dataclass(frozen=True)
class Rung:
    """A rung of successive halving.

    Attributes:
        epoch: Epochs after which the networks are compared.
        standings: The networks that were trained so far, best first.
    """

    epoch: int
    standings: tuple[Standing, ...]

    @property
    def stopped(self) -> tuple[Standing, ...]:
        """The networks that do not stay, without those of which a run failed."""
        return tuple(one for one in self.standings if not one.stays and one.value is not None)


@dataclass(frozen=True)
class Timing:
    """Measured time of one network, medians in milliseconds per batch.

    Attributes:
        inference_ms: One forward pass, evaluation mode, no gradient.
        step_ms: One training step: forward, backward, optimizer.
    """

    inference_ms: float
    step_ms: float


@dataclass(frozen=True)
class Summary:
    """Statistics of one network over its finished seeds.

    Attributes:
        values: The study's metric on the test split, in the order of the seeds; never empty.
        exit_values: Its mean over seeds for each early exit.
        spread: Sample standard deviation of the values; None with one seed.
        train_seconds: Mean over seeds.
        predictions: For the test images, of each seed; empty where a run has none.
    """

    network: Network
    values: tuple[float, ...]
    train_seconds: float
    timing: Timing | None
    exit_values: tuple[float, ...] = ()
    predictions: tuple[Predictions, ...] = field(default=(), compare=False, repr=False)

    @property
    def mean(self) -> float:
        """Mean of the values over seeds."""
        return fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Sample standard deviation of the values over seeds; None with one seed."""
        return stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Results:
    """Everything that the report contains.

    Attributes:
        title: Headline of the report.
        weights: Description of the weights whose test metric is reported.
        test_images: Size of the test split, which with the number of seeds limits how small a difference can be
            significant; 0 where the metric is no proportion of images.
        facts: Titled lists of (name, value) lines on data, recipe, and machine, in the order the report shows them.
        timing_note: How the times were measured, in one sentence; empty when they were not.
        commands: What to type to repeat the study.
        metric: What the networks are compared by.
        rungs: The rungs of successive halving.
    """

    title: str
    networks: tuple[Network, ...]
    runs: tuple[Run, ...]
    timings: Mapping[str, Timing] = field(default_factory=dict)
    weights: str = ""
    test_images: int = 0
    facts: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    timing_note: str = ""
    commands: tuple[str, ...] = ()
    metric: Metric = TOP1_ERROR
    rungs: tuple[Rung, ...] = ()

    @property
    def summaries(self) -> tuple[Summary, ...]:
        """One summary per network that has at least one finished run, in the study's order."""
        return tuple(s for network in self.networks if (s := self._summary(network)) is not None)

    def _summary(self, network: Network) -> Summary | None:
        done = [run for run in self.runs if run.label == network.label and run.value is not None]
        if not done:
            return None
        values = tuple(run.value for run in done if run.value is not None)
        seconds = fmean(run.train_seconds or 0.0 for run in done)
        exits = tuple(fmean(at_exit) for at_exit in zip(*(run.exit_values for run in done), strict=True))
        known = tuple(run.predictions for run in done if run.predictions)
        predictions = known if len(known) == len(done) else ()
        return Summary(network, values, seconds, self.timings.get(network.label), exits, predictions)

    @property
    def ranked(self) -> tuple[Summary, ...]:
        """The summaries, best mean first."""
        return tuple(sorted(self.summaries, key=lambda s: self.metric.rank(s.mean)))

    @property
    def spread(self) -> Spread | None:
        """Spread of one run's value over seeds, pooled over the networks; None where no network has two seeds."""
        return pooled_spread(s.values for s in self.summaries)

    def interval(self, summary: Summary) -> tuple[float, float] | None:
        """95 % interval of a network's mean over seeds, on these test images, within the range of the metric.

        By Student's t, with the pooled spread; None where that is not known.
        """
        if (spread := self.spread) is None:
            return None
        half, most = spread.half_width(len(summary.values)), 100.0 if self.metric.unit == "%" else math.inf
        return max(summary.mean - half, 0.0), min(summary.mean + half, most)

    def front(self, key: str) -> tuple[str, ...]:
        """Labels of the networks on the Pareto front of the mean against the cost `key`, cheapest first."""
        measured = [(s, cost) for s in self.summaries if (cost := cost_of(s, key)) is not None]
        front = pareto_front([(cost, self.metric.rank(s.mean)) for s, cost in measured])
        return tuple(measured[i][0].network.label for i in front)

    @property
    def failures(self) -> tuple[tuple[str, str], ...]:
        """(what failed, one-line reason) of networks that could not be built and of runs that did not finish."""
        networks = [(network.label, network.failure) for network in self.networks if network.failure]
        runs = [(f"{run.label}, seed {run.seed}", run.failure) for run in self.runs if run.failure]
        return tuple(networks + runs)


#: The costs a network is judged by: key, axis label, how to read it from a summary (None where it was not measured).
COSTS: Mapping[str, str] = {
    "parameters": "learnable parameters",
    "macs": "multiply-accumulates per image",
    "inference_ms": "measured inference time [ms per batch]",
    "step_ms": "measured training step [ms per batch]",
}


def cost_of(summary: Summary, key: str) -> float | None:
    """The cost `key` (one of `COSTS`) of a network, None where it was not measured."""
    if key in ("parameters", "macs"):
        return None if summary.network.cost is None else float(getattr(summary.network.cost, key))
    return None if summary.timing is None else float(getattr(summary.timing, key))


def pareto_front(points: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """Indices of the points (cost, rank) that no other point beats, ordered by cost; the lower the better, in both.

    A point is beaten when another is no worse in both and better in one; equal points stay together.

    >>> pareto_front([(1.0, 5.0), (2.0, 3.0), (2.0, 4.0), (3.0, 3.0)])
    (0, 1)
    """
    front: list[int] = []
    best = math.inf
    for index in sorted(range(len(points)), key=lambda i: points[i]):
        if points[index][1] < best or (front and points[index] == points[front[-1]]):
            front.append(index)
            best = points[index][1]
    return tuple(front)


def write_results(path: Path, results: Results) -> None:
    """Write results.csv, one row per run; a failed run has a row with the reason."""
    networks = {network.label: network for network in results.networks}
    timings, metric = results.timings, results.metric.name
    rows = [_run_row(networks[run.label], run, timings.get(run.label), metric) for run in results.runs]
    write_table(path, rows)


def _run_row(network: Network, run: Run, timing: Timing | None, metric: str) -> dict[str, Any]:
    return {
        "label": run.label,
        **_network_cells(network),
        "seed": run.seed,
        f"test_{metric}": run.value,
        f"exit_{metric}": " ".join(map(str, run.exit_values)),
        "train_seconds": rounded(run.train_seconds),
        **_timing_cells(timing),
        "run": run.run_dir,
        "stopped_after": run.stopped_after,
        f"stopped_val_{metric}": run.stopped_after and run.val_value(run.stopped_after),
        "failure": run.failure or network.failure,
    }


def write_summary(path: Path, results: Results) -> None:
    """Write summary.csv, one row per network: mean, its 95 % interval and spread over its finished seeds."""
    fronts, metric = {key: results.front(key) for key in COSTS}, results.metric.name
    intervals = [results.interval(s) or (None, None) for s in results.summaries]
    rows = [
        {
            "label": s.network.label,
            **_network_cells(s.network),
            "seeds": len(s.values),
            f"mean_test_{metric}": rounded(s.mean),
            "spread": rounded(s.spread),
            "interval_low": rounded(low),
            "interval_high": rounded(high),
            f"min_test_{metric}": min(s.values),
            f"max_test_{metric}": max(s.values),
            "mean_train_seconds": rounded(s.train_seconds),
            **_timing_cells(s.timing),
            "on_front_of": " ".join(key for key in COSTS if s.network.label in fronts[key]),
        }
        for s, (low, high) in zip(results.summaries, intervals, strict=True)
    ]
    write_table(path, rows)


def _network_cells(network: Network) -> dict[str, Any]:
    cost = network.cost
    return {
        "model": network.model,
        "overrides": json.dumps(dict(network.args)),
        "parameters": cost and cost.parameters,
        "macs": cost and cost.macs,
        "links": cost and cost.links,
        "max_distance": cost and cost.max_distance,
        "mean_distance": cost and rounded(cost.mean_distance),
        "devices": network.devices,
        "batch_size": network.batch_size,
        "grad_checkpointing": network.grad_checkpointing,
    }


def _timing_cells(timing: Timing | None) -> dict[str, Any]:
    return {
        "inference_ms": rounded(None if timing is None else timing.inference_ms),
        "step_ms": rounded(None if timing is None else timing.step_ms),
    }


def rounded(value: float | None) -> float | None:
    """Round a number of a table to four decimals."""
    return None if value is None else round(value, 4)


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file from rows of equal columns."""
    rows = list(rows)
    write_text(path, as_csv([rows[0] if rows else ["label"], *(row.values() for row in rows)]))
