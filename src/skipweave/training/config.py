"""What a training run is asked to do, as plain values that YAML and the command line can hold."""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from skipweave.data import DataConfig
from skipweave.errors import SkipweaveError

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true")

#: What a resumed run may change, because it does not change the result: where the run is computed and read from.
FREE_TO_CHANGE = ("output", "accelerator", "checkpoint_every", "data.root", "data.download", "data.workers")


@dataclass(frozen=True)
class ModelConfig:
    """Which network.

    Attributes:
        name: a name of `skipweave models`, or of another timm model.
        args: overrides of that model, such as growth, units, topology or drop_rate; the number of classes and of
            input channels follow from the data.
    """

    name: str = "sparsenet40_12"
    args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimConfig:
    """Stochastic gradient descent; the defaults are the papers'.

    Attributes:
        lr: learning rate at the start.
        momentum: of the running gradient.
        nesterov: whether the momentum looks ahead (Nesterov, 1983).
        weight_decay: L2 penalty on all parameters.
    """

    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SkipweaveError: one line that lists every wrong value.
        """
        _refuse(
            _unless(self.lr > 0 and math.isfinite(self.lr), f"lr is {self.lr}: expected a number above 0"),
            _unless(0 <= self.momentum < 1, f"momentum is {self.momentum}: expected at least 0 and below 1"),
            _unless(self.momentum > 0 or not self.nesterov, "nesterov needs a momentum above 0: give one, or false"),
            _unless(
                self.weight_decay >= 0 and math.isfinite(self.weight_decay),
                f"weight_decay is {self.weight_decay}: expected 0 or more",
            ),
        )


@dataclass(frozen=True)
class ScheduleConfig:
    """When the learning rate falls.

    Attributes:
        milestones: fractions of all steps at which it is multiplied by gamma.
        gamma: the factor.
    """

    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SkipweaveError: one line that lists every wrong value.
        """
        rising = all(earlier < later for earlier, later in zip(self.milestones, self.milestones[1:], strict=False))
        _refuse(
            _unless(
                rising and all(0 < milestone < 1 for milestone in self.milestones),
                f"milestones are {list(self.milestones)}: expected rising fractions of the run between 0 and 1",
            ),
            _unless(0 < self.gamma <= 1, f"gamma is {self.gamma}: expected above 0 and at most 1"),
        )

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied by at a step.

        Args:
            step: of the run, counted from 0.
            steps: of the whole run; a milestone m begins at the first step not before m * steps, within an epoch if
                that is where it falls.
        """
        return self.gamma ** sum(step >= math.ceil(round(milestone * steps, 6)) for milestone in self.milestones)


@dataclass(frozen=True)
class FitConfig:
    """One training run. The defaults train a small SparseNet on scikit-learn's handwritten digits within half a minute.

    Attributes:
        model: which network.
        data: which images.
        optim: the optimiser.
        schedule: when the learning rate falls.
        epochs: times that every training image is seen.
        batch_size: images a step, over all processes together; an incomplete last batch of an epoch is left out.
        seed: decides initial weights, order, augmentation and dropout.
        output: folder that gets a new folder for this run.
        accelerator: auto, cpu, gpu, cuda or mps.
        devices: processes, one a device; each takes its share of every batch.
        precision: 32-true, 16-mixed, bf16-mixed, bf16-true or 64-true.
        checkpoint_every: steps between checkpoints within an epoch; 0 for one at the end of each epoch only.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    epochs: int = 10
    batch_size: int = 64
    seed: int = 0
    output: Path = Path("runs")
    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32-true"
    checkpoint_every: int = 0

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SkipweaveError: one line that lists every wrong value.
        """
        _refuse(
            _unless(self.epochs >= 1, f"epochs is {self.epochs}: expected at least 1"),
            _unless(self.batch_size >= 1, f"batch_size is {self.batch_size}: expected at least 1"),
            _unless(self.devices >= 1, f"devices is {self.devices}: expected at least 1"),
            _unless(
                self.batch_size % max(self.devices, 1) == 0,
                f"batch_size is {self.batch_size} and devices is {self.devices}: expected a multiple, "
                f"so that every process takes the same share",
            ),
            _unless(self.checkpoint_every >= 0, f"checkpoint_every is {self.checkpoint_every}: expected 0 or more"),
            _unknown("accelerator", self.accelerator, ACCELERATORS),
            _unknown("precision", self.precision, PRECISIONS),
        )


def as_plain(config: FitConfig) -> dict[str, Any]:
    """The settings as nested dictionaries, lists, numbers and strings, as YAML and JSON hold them."""
    return _plain(asdict(config))


def differences(ours: FitConfig, theirs: FitConfig) -> list[str]:
    """Settings that differ and matter to the result, each as `name: ours, theirs`.

    Args:
        ours: the settings asked for.
        theirs: the settings of a run that exists.
    """
    mine, other = dict(_leaves(as_plain(ours))), dict(_leaves(as_plain(theirs)))
    return [
        f"{name}: {mine.get(name)}, not {other.get(name)}"
        for name in sorted(mine | other)
        if name not in FREE_TO_CHANGE and mine.get(name) != other.get(name)
    ]


def nearest(name: str, valid: Sequence[str]) -> str:
    """`did you mean ...? ` for the closest valid name, or nothing when none is close."""
    near = difflib.get_close_matches(name, valid, n=3, cutoff=0.5)
    return f"did you mean {', '.join(near)}? " if near else ""


def _refuse(*problems: str | None) -> None:
    found = [problem for problem in problems if problem]
    if found:
        raise SkipweaveError("; ".join(found))


def _unless(right: bool, problem: str) -> str | None:
    return None if right else problem


def _unknown(what: str, value: str, valid: Sequence[str]) -> str | None:
    return _unless(value in valid, f"unknown {what} {value!r}: {nearest(value, valid)}valid: {', '.join(valid)}")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
