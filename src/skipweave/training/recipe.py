"""How a network is trained: optimizer, learning rate and loss, as plain values."""

import math
from dataclasses import dataclass

from skipweave.config.checks import refuse, unknown, unless
from skipweave.config.typed import take_types

OPTIMIZERS = ("sgd", "rmsprop")
HEADS = ("halves", "sieve", "last")
CLASS_WEIGHTS = ("none", "median_frequency")


@dataclass(frozen=True)
class OptimConfig:
    """The optimizer; the defaults are the papers' for classification.

    Attributes:
        name: `sgd`, or `rmsprop`, which divides the gradient by the root of the running mean of its squares; nine
            tenths of that mean last from step to step, as in the libraries that both segmentation papers used.
        lr: learning rate at the start.
        momentum: of the running gradient.
        nesterov: whether the momentum looks ahead (Nesterov, 1983).
        weight_decay: L2 penalty on all parameters.
    """

    name: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SkipweaveError: every value of a wrong type, or out of its range.
        """
        take_types(self)
        refuse(
            unknown("optimizer", self.name, OPTIMIZERS),
            unless(self.lr > 0 and math.isfinite(self.lr), f"lr is {self.lr}: expected a number above 0"),
            unless(0 <= self.momentum < 1, f"momentum is {self.momentum}: expected at least 0 and below 1"),
            unless(self.name != "rmsprop" or not self.nesterov, "nesterov is for sgd: give false"),
            unless(self.momentum > 0 or not self.nesterov, "nesterov needs a momentum above 0: give one, or false"),
            unless(
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
        decay: what it is moreover multiplied by after every epoch.
    """

    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    decay: float = 1.0

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SkipweaveError: every value of a wrong type, or out of its range.
        """
        take_types(self)
        rising = all(earlier < later for earlier, later in zip(self.milestones, self.milestones[1:], strict=False))
        refuse(
            unless(
                rising and all(0 < milestone < 1 for milestone in self.milestones),
                f"milestones are {list(self.milestones)}: expected rising fractions of the run between 0 and 1",
            ),
            unless(0 < self.gamma <= 1, f"gamma is {self.gamma}: expected above 0 and at most 1"),
            unless(0 < self.decay <= 1, f"decay is {self.decay}: expected above 0 and at most 1"),
        )

    def factor(self, step: int, steps: int, epoch: int) -> float:
        """What the learning rate is multiplied by at a step.

        Args:
            step: of the run, counted from 0.
            steps: of the whole run; a milestone m begins at the first step not before m * steps, within an epoch if
                that is where it falls.
            epoch: which the step is in, counted from 0.
        """
        falls = sum(step >= math.ceil(round(milestone * steps, 6)) for milestone in self.milestones)
        return self.gamma**falls * self.decay**epoch


@dataclass(frozen=True)
class LossConfig:
    """What is minimized: the mean cross-entropy, over all heads of the network.

    Attributes:
        heads: what the exits of a network count beside its last head, if it has any (`model.args.heads` stages): one
            half together, in equal parts (`halves`, Log-DenseNet's paper) or by `sieve` (its released code); or
            nothing (`last`).
        last_epochs: epochs at the end in which the last head counts alone (Log-DenseNet, section 3.1: one).
        class_weights: of label maps: `none`, or `median_frequency`, the median of the classes' frequencies in the
            training set over a class's own.
    """

    heads: str = "halves"
    last_epochs: int = 0
    class_weights: str = "none"

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SkipweaveError: every value of a wrong type, or out of its range.
        """
        take_types(self)
        refuse(
            unknown("way to share the loss", self.heads, HEADS),
            unless(self.last_epochs >= 0, f"last_epochs is {self.last_epochs}: expected 0 or more"),
            unknown("kind of class weights", self.class_weights, CLASS_WEIGHTS),
        )
