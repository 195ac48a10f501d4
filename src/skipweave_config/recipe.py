"""Configuration of optimizer, learning rate schedule, loss and densification."""

import math
from collections.abc import Mapping
from dataclasses import field
from fractions import Fraction as Exact
from itertools import accumulate, pairwise
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from skipweave_config.errors import SkipweaveError, noted_in
from skipweave_config.fields import (
    Flag,
    Fraction,
    NonNegativeInteger,
    NonNegativeNumber,
    Number,
    PlainValues,
    PositiveInteger,
    PositiveNumber,
    Text,
    not_empty,
)
from skipweave_config.hints import nearest
from skipweave_config.optimizer_table import OptimizerEntry, optimizer_table
from skipweave_config.validation import Config


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    if any(earlier >= later for earlier, later in pairwise(values)):
        raise ValueError("should be in ascending order")
    return values


def _as_tuple(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


def _check_name(name: str) -> str:
    if name not in optimizer_table():
        raise ValueError(
            f"{nearest(name, optimizer_table(), 3)}should be one of timm.optim.list_optimizers(), but not kron or "
            "those that need another package or second derivatives"
        )
    return name


def _default_lr(lr: Any, info: ValidationInfo) -> Any:
    if lr is not None or "name" not in info.data:
        return 0.1 if lr is None else lr
    if info.data["name"] != "sgd":
        raise ValueError(f"should be given for {info.data['name']}, such as 0.001: only sgd has a default")
    return 0.1


def _default_momentum(momentum: Any, info: ValidationInfo) -> Any:
    entry = optimizer_table().get(info.data.get("name", ""))
    return (0.9 if entry and entry.momentum else 0.0) if momentum is None else momentum


def _default_nesterov(nesterov: Any, info: ValidationInfo) -> Any:
    entry = optimizer_table().get(info.data.get("name", ""))
    return bool(entry and entry.nesterov and info.data.get("momentum") != 0) if nesterov is None else nesterov


class ParameterGroup(Config):
    """Parameters with an optimizer of their own.

    Options that are not given are those of `optim`, if the optimizer is the same, or else the defaults.

    Attributes:
        parameters: Patterns of the names of the parameters, such as `*.bias` or `head.*`. Parameters that match several
            groups are in the first of these.
        name: Name of an optimizer, by default that of `optim`.
        lr: Highest learning rate.
        momentum: Momentum factor.
        nesterov: Use Nesterov momentum.
        weight_decay: Weight decay; of all parameters of the group, including norms and biases.
        normalize_filters: As in `optim`.
        args: Other arguments of the optimizer.
        epochs: Epochs after which the parameters are not trained any more; the schedule of the learning rate is then
            that of a run of so many epochs. By default they are trained to the end.
    """

    parameters: Annotated[tuple[Text, ...], AfterValidator(not_empty)]
    name: Text | None = None
    lr: PositiveNumber | None = None
    momentum: Number | None = None
    nesterov: Flag | None = None
    weight_decay: NonNegativeNumber | None = None
    normalize_filters: Flag | None = None
    args: PlainValues | None = None
    epochs: PositiveInteger | None = None

    def optimizer(self, optim: Mapping[str, Any]) -> "OptimConfig":
        """The optimizer of the group.

        Args:
            optim: The values of the config `optim`.

        Raises:
            SkipweaveError: The options do not fit together.
        """
        given = {name: value for name in _OF_GROUPS if (value := getattr(self, name)) is not None}
        inherited = {name: optim[name] for name in _OF_GROUPS} if self.name in (None, optim["name"]) else {}
        return OptimConfig(**{**inherited, **given})


_OF_GROUPS = ("name", "lr", "momentum", "nesterov", "weight_decay", "normalize_filters", "args")


class OptimConfig(Config):
    """The optimizer; the defaults are those of the papers for classification.

    Attributes:
        name: Name of an optimizer in timm: `sgd`, `adamw`, `lamb`, `lion`, `muon`, `rmsprop` (with a smoothing constant
            of 0.9, as in the libraries that both segmentation papers used) and others.
        lr: Highest learning rate; 0.1 by default for `sgd`, to be given for others.
        momentum: Momentum factor of optimizers that have one; 0.9 by default.
        nesterov: Use Nesterov momentum, in optimizers that can; by default as timm does, for `sgd` true.
        weight_decay: Weight decay (L2 penalty, or decoupled, as the optimizer has it).
        decay_norms_and_biases: Also apply weight decay to the weights of norms and to biases, as the papers do.
        layer_decay: Factor on the learning rate from each group of layers to the one before it, for fine-tuning; 1 for
            the same rate everywhere.
        clip_grad: Clip gradients to this norm of all of them together, value, or ratio to the weights (`clip_mode`).
        clip_mode: `norm`, `value`, or `agc` (adaptive gradient clipping, per filter and without the last layer).
        accumulate: Batches per step, whose mean gradient is used, as for a batch of batch_size x accumulate images. The
            images of an incomplete last step of an epoch are dropped.
        args: Other arguments of the optimizer, such as betas, eps or ns_steps, with timm's defaults.
        normalize_filters: Before each step, scale the weights of each convolution to a norm of sqrt(output channels).
            For convolutions that a norm follows: their scale affects only the relative size of the steps.
        groups: Parameters with an optimizer, learning rate or weight decay of their own, to which `layer_decay` does
            not apply.
    """

    name: Annotated[Text, AfterValidator(_check_name)] = "sgd"
    lr: Annotated[PositiveNumber, BeforeValidator(_default_lr)] = cast(float, None)
    momentum: Annotated[Number, Field(ge=0, lt=1), BeforeValidator(_default_momentum)] = cast(float, None)
    nesterov: Annotated[Flag, BeforeValidator(_default_nesterov)] = cast(bool, None)
    weight_decay: NonNegativeNumber = 1e-4
    decay_norms_and_biases: Flag = False
    layer_decay: Fraction = 1.0
    clip_grad: PositiveNumber | None = None
    clip_mode: Literal["norm", "value", "agc"] = "norm"
    accumulate: PositiveInteger = 1
    args: PlainValues = field(default_factory=dict)
    normalize_filters: Flag = False
    groups: tuple[ParameterGroup, ...] = ()

    @property
    def entry(self) -> OptimizerEntry:
        """The optimizer's line in the table."""
        return optimizer_table()[self.name]

    @field_validator("momentum")
    @classmethod
    def _check_momentum(cls, momentum: float, info: ValidationInfo) -> float:
        entry = optimizer_table().get(info.data.get("name", ""))
        if momentum and entry and not entry.momentum:
            other = " (its betas are in optim.args)" if "betas" in entry.arguments else ""
            raise ValueError(f"should be 0 with the optimizer {entry.name}, which has none{other}")
        return momentum

    @field_validator("nesterov")
    @classmethod
    def _check_nesterov(cls, nesterov: bool, info: ValidationInfo) -> bool:
        entry = optimizer_table().get(info.data.get("name", ""))
        if nesterov and entry and entry.nesterov is None:
            raise ValueError(f"should be false with the optimizer {entry.name}")
        if nesterov and info.data.get("momentum") == 0:
            raise ValueError("should be false with a momentum of 0")
        return nesterov

    @field_validator("args")
    @classmethod
    def _check_args(cls, args: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        entry = optimizer_table().get(info.data.get("name", ""))
        unknown = [name for name in args if entry and name not in entry.arguments]
        if entry and unknown:
            listed = f"valid names: {', '.join(entry.arguments)}"
            raise SkipweaveError(
                *(
                    f"unknown argument {one!r} of {entry.name}: {nearest(one, entry.arguments)}{listed}"
                    for one in unknown
                )
            )
        return args

    @field_validator("groups")
    @classmethod
    def _check_groups(cls, groups: tuple[ParameterGroup, ...], info: ValidationInfo) -> tuple[ParameterGroup, ...]:
        problems: list[str] = []
        for number, group in enumerate(groups if info.data.keys() >= set(_OF_GROUPS) else ()):
            with noted_in(problems, f"[{number}]"):
                group.optimizer(info.data)
        if problems:
            raise SkipweaveError(*problems)
        return groups


class ScheduleConfig(Config):
    """The learning rate schedule, step by step: a warm-up if asked for, then a curve over the remaining steps.

    Attributes:
        name: `step` (milestones and decay), `cosine`, `linear` (with a warm-up like one cycle) or `poly` to `min_lr`,
            or `plateau`, which multiplies by gamma when the metric of the validation images stops improving.
        warmup_epochs: Epochs, or a fraction of one, in which the learning rate rises linearly to `optim.lr`.
        warmup_lr: Learning rate of the first step of the warm-up.
        min_lr: Lowest learning rate; not of `step`.
        milestones: Of `step`: fractions of all steps at which the learning rate is multiplied by gamma.
        gamma: Multiplicative factor of the milestones, and of `plateau`.
        decay: Of `step`: multiplicative factor of every epoch, or of every `decay_epochs`.
        decay_epochs: Of `step`: epochs after which the learning rate is multiplied by `decay`.
        power: Of `poly`: exponent of the remaining fraction of the steps.
        patience: Of `plateau`: epochs without improvement that change nothing.
    """

    name: Literal["step", "cosine", "linear", "poly", "plateau"] = "step"
    warmup_epochs: NonNegativeNumber = 0.0
    warmup_lr: NonNegativeNumber = 1e-5
    min_lr: NonNegativeNumber = 0.0
    milestones: Annotated[tuple[Annotated[Number, Field(gt=0, lt=1)], ...], AfterValidator(_ascending)] = (0.5, 0.75)
    gamma: Fraction = 0.1
    decay: Fraction = 1.0
    decay_epochs: PositiveInteger = 1
    power: PositiveNumber = 0.9
    patience: NonNegativeInteger = 10

    def factor(self, step: int, steps: int, epoch: int) -> float:
        """The factor of the highest learning rate at a step of the schedule `step`, after its warm-up.

        Args:
            step: Step of the run, counted from 0.
            steps: Steps of the whole run; a milestone m takes effect at the first step not before m * steps, within an
                epoch if it falls there.
            epoch: Epoch of the step, counted from 0.
        """
        falls = sum(step >= math.ceil(round(milestone * steps, 6)) for milestone in self.milestones)
        return self.gamma**falls * self.decay ** (epoch // self.decay_epochs)


LossName = Literal["cross_entropy", "dice", "focal", "dice+cross_entropy", "dice+focal"]


class LossConfig(Config):
    """The loss: the weighted sum of the losses of all heads of the network.

    Attributes:
        name: `cross_entropy`; for segmentation also `dice` (of each batch, the mean over the classes that occur in it),
            `focal` (with gamma 2) or a sum of two. Pixels without a label are ignored. Several processes average the
            losses of their parts of a batch. Evaluation reports the cross-entropy.
        label_smoothing: Part of each label that is spread evenly over all classes, in training; not for segmentation.
        heads: Weights of auxiliary heads (`model.args.heads stages`): one half together, in equal parts (`halves`,
            Log-DenseNet's paper) or by `sieve` (its released code); or zero (`last`); or a number, the weight of each
            beside 1 for the last head, such as 0.4 for Inception-V3 (`model.args.aux_logits true`).
        last_epochs: Final epochs trained with the last head only (Log-DenseNet, section 3.1: one).
        class_weights: Class weights: `none`; for classification `balanced`, by the inverse class frequency of the
            training split; for segmentation `median_frequency`, the median class frequency of the training split over
            the frequency of the class. They weight pixels, in `dice` the classes.
    """

    name: LossName = "cross_entropy"
    label_smoothing: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    heads: Literal["halves", "sieve", "last"] | PositiveNumber = "halves"
    last_epochs: NonNegativeInteger = 0
    class_weights: Literal["none", "balanced", "median_frequency"] = "none"


class EmaConfig(Config):
    """An exponential moving average (EMA) of the network's weights and statistics, which is evaluated and saved.

    Attributes:
        decay: Decay per step, such as 0.9998 for long runs; 0 for no average.
        warmup: Begin with a smaller decay: at most 1 - (1 + step)^(-2/3), as timm has it.
    """

    decay: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    warmup: Flag = False


class MixConfig(Config):
    """Mixup and CutMix: pairs of images of a batch are mixed, and so are their labels; not for segmentation.

    If both are on, each batch is mixed by one of them, chosen at random.

    Attributes:
        mixup: Parameter alpha of mixup, such as 0.2; 0 for none.
        cutmix: Parameter alpha of CutMix, such as 1; 0 for none.
        probability: Probability that a batch is mixed.
        last_epochs: Final epochs without mixing.
    """

    mixup: NonNegativeNumber = 0.0
    cutmix: NonNegativeNumber = 0.0
    probability: Fraction = 1.0
    last_epochs: NonNegativeInteger = 0


class ProgressiveConfig(Config):
    """Smaller training images in the first epochs, which take less time; not for segmentation.

    Attributes:
        scale: Side of these images as a fraction of the full one; several for images that grow in steps.
        epochs: Number of epochs of each scale; 0 for none.
    """

    scale: Annotated[tuple[Fraction, ...], BeforeValidator(_as_tuple), AfterValidator(not_empty)] = (0.75,)
    epochs: Annotated[tuple[NonNegativeInteger, ...], BeforeValidator(_as_tuple), AfterValidator(not_empty)] = (0,)

    @field_validator("epochs")
    @classmethod
    def _check_epochs(cls, epochs: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        scales = info.data.get("scale")
        if scales and any(epochs) and len(epochs) != len(scales):
            raise ValueError(f"should have as many numbers as scale, {len(scales)}")
        return epochs

    @property
    def stages(self) -> tuple[tuple[float, int], ...]:
        """Scale of each stage before that of full size, and the epoch, counted from 0, at which the next one begins."""
        stages = zip(self.scale, self.epochs, accumulate(self.epochs), strict=False)
        return tuple((scale, end) for scale, epochs, end in stages if epochs)

    def scale_in(self, epoch: int) -> float:
        """The scale of images in an epoch, counted from 0.

        >>> [ProgressiveConfig((0.5, 0.75), (2, 1)).scale_in(epoch) for epoch in range(5)]
        [0.5, 0.5, 0.75, 1.0, 1.0]
        """
        return next((scale for scale, end in self.stages if epoch < end), 1.0)


def scaled_side(side: int, scale: float) -> int:
    """Height or width of an image that is resized by `ProgressiveConfig`, from the full one."""
    return max(1, round(scale * side))


TestTimeAugmentation = Literal["none", "flip", "flip_shift"]

#: Metrics that a run may be monitored by, for each task, the default first.
MONITORS = {
    "classification": ("top1_error", "top1_accuracy", "top5_error", "balanced_accuracy", "macro_f1", "loss"),
    "multi-label": ("mean_average_precision", "macro_f1", "loss"),
    "segmentation": ("mean_iou", "mean_dice", "pixel_accuracy", "loss"),
}


class EarlyStoppingConfig(Config):
    """The end of a run whose metric of the validation images does not improve any more.

    Attributes:
        patience: Epochs without a better value after which training stops; 0 to train to the end.
    """

    patience: NonNegativeInteger = 0


class DensifyConfig(Config):
    """Incremental densification of a network sparsified by `model.args.sparsify` (Changpinyo et al. 2017, 3.2.1).

    New links are drawn and rounded as the first ones (`choice`, `rounding` and `multiple` of `sparsify`).

    Attributes:
        every: Steps between additions of links; 0 adds none.
        densities: Density after each addition; by default the links of each layer are doubled until it is dense.
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
        additions = self.additions(step)
        if not additions:
            return start
        if self.densities:
            return max(start, self.densities[min(additions, len(self.densities)) - 1])
        return float(min(Exact(str(start)) * 2**additions, Exact(1)))

    def additions(self, step: int) -> int:
        """Additions of links up to a step of the run, counted from 0; at most 64, after which nothing changes.

        >>> [DensifyConfig(every=10).additions(step) for step in (0, 9, 10, 20)]
        [0, 0, 1, 2]
        """
        return min(step // self.every, 64) if self.every else 0
