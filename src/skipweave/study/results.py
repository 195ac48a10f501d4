"""Results of a study: networks, runs, and statistics over seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

import numpy as np

from skipweave.study.class_results import RECALL, ClassValues, mean_values
from skipweave.study.confidence import Mistake, most_confident_mistakes
from skipweave.study.spread import Spread, outlying_spreads, pooled_spread
from skipweave.training.energy import Energy
from skipweave.training.run.run_directory import Confusion
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
        training_bytes: Peak memory of the tensors of a training step at the study's batch size, computed for float32,
            not measured (`skipweave.study.memory`); None where that is not possible.
        inference_bytes: The same of inference on one image.
    """

    parameters: int
    macs: int
    links: int
    max_distance: float
    mean_distance: float
    exit_macs: tuple[int, ...] = ()
    training_bytes: int | None = None
    inference_bytes: int | None = None


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
        class_values: `Results.class_metric` of each class on the test split; empty where it is not known.
        confusion: Test images, of masks pixels, by true (row) and predicted (column) class; None where it is not known.
        calibration_error: Expected calibration error on the test split in percent; None where it is not known.
        tta_value: The study's metric on the test split with test-time augmentation; None without.
        energy_wh: Energy of training, as for `skipweave.training.RunSummary`.
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
    class_values: ClassValues = ()
    confusion: Confusion | None = field(default=None, compare=False, repr=False)
    calibration_error: float | None = None
    tta_value: float | None = None
    energy_wh: Energy = field(default_factory=dict)
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
    """Measured time of one network, medians in milliseconds, per batch except in engines.

    Attributes:
        inference_ms: One forward pass, evaluation mode, no gradient.
        step_ms: One training step: forward, backward, optimizer.
        engine_ms: Inference on one image by name of engine and precision: `torch` (by `optimize_for_inference`),
            `torch_bf16`, `onnxruntime`, `openvino` and `openvino_bf16`, as far as they are there.
        engine_failures: One-line reason why an engine cannot run the network, likewise.
    """

    inference_ms: float
    step_ms: float
    engine_ms: dict[str, float] = field(default_factory=dict)
    engine_failures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """Statistics of one network over its finished seeds.

    Attributes:
        values: The study's metric on the test split, in the order of the seeds; never empty.
        exit_values: Its mean over seeds for each early exit.
        spread: Sample standard deviation of the values; None with one seed.
        train_seconds: Mean over seeds.
        predictions: For the test images, of each seed; empty where a run has none.
        class_values: Mean over seeds of `Results.class_metric` of each class; empty where a run has none.
        confusion: Test images, of masks pixels, by true (row) and predicted (column) class, summed over seeds; None
            where a run has none.
        calibration_errors: Expected calibration error of each seed in percent; empty where a run has none.
        tta_values: The study's metric on the test split with test-time augmentation of each seed; empty without.
        energy_wh: Mean energy of a seed's training, `cpu` and `gpu`, of the parts that all runs have.
    """

    network: Network
    values: tuple[float, ...]
    train_seconds: float
    timing: Timing | None
    exit_values: tuple[float, ...] = ()
    predictions: tuple[Predictions, ...] = field(default=(), compare=False, repr=False)
    class_values: ClassValues = ()
    confusion: Confusion | None = field(default=None, compare=False, repr=False)
    calibration_errors: tuple[float, ...] = ()
    tta_values: tuple[float, ...] = ()
    energy_wh: Energy = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean of the values over seeds."""
        return fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Sample standard deviation of the values over seeds; None with one seed."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def calibration_error(self) -> float | None:
        """Mean expected calibration error over seeds in percent; None where it is not known."""
        return fmean(self.calibration_errors) if self.calibration_errors else None

    @property
    def calibration_spread(self) -> float | None:
        """Sample standard deviation of the expected calibration errors over seeds; None with one seed."""
        return stdev(self.calibration_errors) if len(self.calibration_errors) > 1 else None

    @property
    def tta_mean(self) -> float | None:
        """Mean of the metric with test-time augmentation over seeds; None without."""
        return fmean(self.tta_values) if self.tta_values else None

    def mistakes(self, most: int) -> tuple[Mistake, ...]:
        """The most confident mistakes on the test images, over all seeds; empty where they are not known."""
        return most_confident_mistakes(self.predictions, most)


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
        classes: Names of the classes.
        class_metric: The metric of single classes.
        class_counts: By split (train, validation, test) the number of images of each class; of masks the number of
            pixels, of the test split only.
        engine_note: How times in engines were measured, in one sentence; empty when they were not.
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
    classes: tuple[str, ...] = ()
    class_metric: Metric = RECALL
    class_counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    engine_note: str = ""

    @cached_property
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
        matrices = [run.confusion for run in done if run.confusion is not None]
        calibration = tuple(run.calibration_error for run in done if run.calibration_error is not None)
        augmented = tuple(run.tta_value for run in done if run.tta_value is not None)
        parts = set.intersection(*(set(run.energy_wh) for run in done))
        return Summary(
            network,
            values,
            seconds,
            self.timings.get(network.label),
            exits,
            known if len(known) == len(done) else (),
            class_values=mean_values(run.class_values for run in done),
            confusion=np.sum(matrices, axis=0) if len(matrices) == len(done) else None,
            calibration_errors=calibration if len(calibration) == len(done) else (),
            tta_values=augmented if len(augmented) == len(done) else (),
            energy_wh={part: fmean(run.energy_wh[part] for run in done) for part in sorted(parts)},
        )

    @cached_property
    def ranked(self) -> tuple[Summary, ...]:
        """The summaries, best mean first."""
        return tuple(sorted(self.summaries, key=lambda s: self.metric.rank(s.mean)))

    @cached_property
    def outlying(self) -> tuple[Summary, ...]:
        """Networks that vary more over seeds than the others (`outlying_spreads`), in the study's order."""
        found = outlying_spreads([s.values for s in self.summaries])
        return tuple(self.summaries[index] for index in sorted(found))

    @cached_property
    def spread(self) -> Spread | None:
        """Spread of one run's value over seeds, pooled over the networks that vary alike.

        None where no network has two seeds.
        """
        return pooled_spread(s.values for s in self.summaries if s not in self.outlying)

    def spread_of(self, summary: Summary) -> Spread | None:
        """The pooled spread, or a network's own if it varies more; None where no network has two seeds."""
        return pooled_spread([summary.values]) if summary in self.outlying else self.spread

    def interval(self, summary: Summary) -> tuple[float, float] | None:
        """95 % interval of a network's mean over seeds, on these test images, within the range of the metric.

        By Student's t, with the spread over seeds (`spread_of`); None where that is not known.
        """
        return self._interval(summary.values, self.spread_of(summary))

    def tta_interval(self, summary: Summary) -> tuple[float, float] | None:
        """The same of the metric with test-time augmentation, with the network's own spread."""
        values = summary.tta_values
        return self._interval(values, pooled_spread([values])) if values else None

    def _interval(self, values: Sequence[float], spread: Spread | None) -> tuple[float, float] | None:
        if spread is None:
            return None
        mean, half = fmean(values), spread.half_width(len(values))
        return max(mean - half, 0.0), min(mean + half, 100.0 if self.metric.unit == "%" else math.inf)

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
    "training_bytes": "memory of a training step [B]",
    "inference_ms": "measured inference time [ms per batch]",
    "step_ms": "measured training step [ms per batch]",
}


def cost_of(summary: Summary, key: str) -> float | None:
    """The cost `key` (one of `COSTS`) of a network, None where it was not measured."""
    source = summary.timing if key.endswith("_ms") else summary.network.cost
    value = None if source is None else getattr(source, key)
    return None if value is None else float(value)


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
