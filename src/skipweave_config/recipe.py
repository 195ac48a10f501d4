"""Configuration of optimizer, learning rate schedule, loss and densification."""

import math
from fractions import Fraction as Exact
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from skipweave_config.fields import Flag, Fraction, NonNegativeInteger, NonNegativeNumber, Number, PositiveNumber
from skipweave_config.validation import Config


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    if any(earlier >= later for earlier, later in pairwise(values)):
        raise ValueError("should be in ascending order")
    return values


class OptimConfig(Config):
    """The optimizer; the defaults are those of the papers for classification.

    Attributes:
        name: `sgd`, or `rmsprop` with a smoothing constant of 0.9, as in the libraries that both segmentation papers
            used.
        lr: Initial learning rate.
        momentum: Momentum factor.
        nesterov: Use Nesterov momentum (`sgd` only).
        weight_decay: Weight decay (L2 penalty) of all parameters.
    """

    name: Literal["sgd", "rmsprop"] = "sgd"
    lr: PositiveNumber = 0.1
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    nesterov: Flag = True
    weight_decay: NonNegativeNumber = 1e-4

    @field_validator("nesterov")
    @classmethod
    def _check_nesterov(cls, nesterov: bool, info: ValidationInfo) -> bool:
        if nesterov and info.data.get("name") == "rmsprop":
            raise ValueError("should be false with the optimizer rmsprop")
        if nesterov and info.data.get("momentum") == 0:
            raise ValueError("should be false with a momentum of 0")
        return nesterov


class ScheduleConfig(Config):
    """The learning rate schedule.

    Attributes:
        milestones: Fractions of all steps at which the learning rate is multiplied by gamma.
        gamma: Multiplicative factor of the milestones.
        decay: Multiplicative factor of every epoch.
    """

    milestones: Annotated[tuple[Annotated[Number, Field(gt=0, lt=1)], ...], AfterValidator(_ascending)] = (0.5, 0.75)
    gamma: Fraction = 0.1
    decay: Fraction = 1.0

    def factor(self, step: int, steps: int, epoch: int) -> float:
        """The factor of the initial learning rate at a step.

        Args:
            step: Step of the run, counted from 0.
            steps: Steps of the whole run; a milestone m takes effect at the first step not before m * steps, within an
                epoch if it falls there.
            epoch: Epoch of the step, counted from 0.
        """
        falls = sum(step >= math.ceil(round(milestone * steps, 6)) for milestone in self.milestones)
        return self.gamma**falls * self.decay**epoch


class LossConfig(Config):
    """The loss: mean cross-entropy over all heads of the network.

    Attributes:
        heads: Weights of auxiliary heads (`model.args.heads stages`): one half together, in equal parts (`halves`,
            Log-DenseNet's paper) or by `sieve` (its released code); or zero (`last`).
        last_epochs: Final epochs trained with the last head only (Log-DenseNet, section 3.1: one).
        class_weights: Class weights: `none`; for classification `balanced`, by the inverse class frequency of the
            training split; for segmentation `median_frequency`, the median class frequency of the training split over
            the frequency of the class.
    """

    heads: Literal["halves", "sieve", "last"] = "halves"
    last_epochs: NonNegativeInteger = 0
    class_weights: Literal["none", "balanced", "median_frequency"] = "none"


class DensifyConfig(Config):
    """Incremental densification of a network sparsified by `model.args.sparsify` (Changpinyo et al. 2017, section 3.2).

    Attributes:
        every: Steps between additions of links; 0 adds none.
        densities: Density after each addition; by default links are doubled until the network is dense.
        new: Initial weights of new links: `fresh` random ones (the paper's), or `zero`, which leaves the network's
            output unchanged and suits short phases better.
    """

    every: NonNegativeInteger = 0
    densities: Annotated[tuple[Fraction, ...], AfterValidator(_ascending)] = ()
    new: Literal["fresh", "zero"] = "fresh"

    @field_validator("densities")
    @classmethod
    def _check_densities(cls, densities: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if densities and info.data.get("every") == 0:
            raise ValueError("needs every, the steps between additions")
        return densities

    def density(self, start: float, step: int) -> float:
        """The density at a step.

        Args:
            start: Density at the first step.
            step: Step of the run, counted from 0.

        >>> [DensifyConfig(every=10).density(0.3, step) for step in (0, 9, 10, 20, 90)]
        [0.3, 0.3, 0.6, 1.0, 1.0]
        """
        additions = step // self.every if self.every else 0
        if not additions:
            return start
        if self.densities:
            return max(start, self.densities[min(additions, len(self.densities)) - 1])
        doubled = Exact(str(start)) * 2 ** min(additions, 64)
        return float(min(doubled, Exact(1)))
