"""SeqResNet, SeqResNet-B and SeqResNeXt (Huang et al. 2018, "Sequentially Aggregated Convolutional Networks")."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal, get_args

from torch import Tensor, nn

from skipweave.layers import (
    ConvUnit,
    Downsampling,
    Dropout,
    GroupUnit,
    Head,
    NormLayer,
    NormName,
    Opening,
    ResidualBlock,
    SeqConv2d,
    SeqStage,
    Stem,
)
from skipweave.models.arguments import Arguments, Heads, PerStage, StemName
from skipweave.models.classifier import StagedNet
from skipweave.models.registry import cifar_cfg, imagenet_cfg, register_variants

Windowed = bool | Literal["extensions"]
HeadInit = Literal["glorot", "released"]


class SeqResNet(StagedNet):
    """Stages of residual blocks of SeqConv layers.

    Args:
        units: Number of residual blocks N, for all stages or per stage.
        group_size: Number of channels k per group, for all stages or per stage.
        widening: Factor on the widths 16, 32, 48 (CIFAR, the paper's r) or 64, 128, 256, 512 (ImageNet).
        windowed: Whether layers read windows: all but the opening (True), none (False), or only the extensions before
            down-sampling (`"extensions"`).
        bottleneck: Whether groups are computed by a 1x1 and a 3x3 unit ("-B").
        subgroups: Groups c of that 3x3 unit ("SeqResNeXt"), for all stages or per stage.
        widths: Number of channels per stage, instead of `widening`.
        stem: `"cifar"` (one 3x3 unit, three stages) or `"imagenet"` (two, strided, four stages).
        stem_width: Number of channels of the stem; None is 16 (CIFAR) or 32 (ImageNet).
        extension_twice: Whether down-sampling reads the extension twice, as in the released SeqResNeXt code, instead of
            input and extension, as in the paper. It is not known which of them gave SeqResNeXt-24's published error.
        num_classes: See `ClassifierNet`, also for `in_chans`, `global_pool`, `heads` and `norm_layer`.
        drop_rate: Dropout rate before the final 1x1 unit.
        proj_drop_rate: Dropout rate in all SeqConv layers but the opening.
        dropout: What is dropped: channels of the input of each group, as in the released code (`"groups"`), or elements
            of the input of each layer, as in the paper's text (`"layer"`). Before the final unit, channels or elements.
        head_init: Initial weights of the classifier, uniform: as in Glorot and Bengio, which the paper cites
            (`"glorot"`, up to sqrt(6 / (features + classes))), or up to sqrt(3 / classes) (`"released"`).

    Raises:
        SkipweaveError: Arguments are invalid; names all of them.

    Shape: (N, in_chans, H, W) to (N, num_classes).
    """

    def __init__(
        self,
        *,
        units: PerStage = 1,
        group_size: PerStage = 8,
        widening: int = 4,
        windowed: Windowed = True,
        bottleneck: bool = False,
        subgroups: PerStage = 1,
        widths: Sequence[int] | None = None,
        stem: StemName = "cifar",
        stem_width: int | None = None,
        extension_twice: bool = False,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        heads: Heads = "last",
        drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        dropout: Dropout = "groups",
        head_init: HeadInit = "glorot",
        norm_layer: NormLayer = "batch",
    ) -> None:
        check = Arguments()
        template = _TEMPLATES[check.one_of("stem", stem, list(_TEMPLATES))]
        count = len(template.widths)
        widening = check.integer("widening", widening)
        shape = _Shape(
            blocks=check.units(units, count),
            widths=tuple(widening * width for width in template.widths)
            if widths is None
            else check.per_stage("widths", widths, count),
            group_sizes=check.per_stage("group_size", group_size, count),
            subgroups=check.per_stage("subgroups", subgroups, count),
            norm=check.norm_layer(norm_layer),
        )
        width = template.stem_width if stem_width is None else stem_width
        check.integer("stem_width", width)
        check.one_of("windowed", windowed, [True, False, "extensions"])
        check.one_of("bottleneck", bottleneck, [True, False])
        check.one_of("extension_twice", extension_twice, [True, False])
        check.one_of("dropout", dropout, get_args(Dropout))
        check.one_of("head_init", head_init, get_args(HeadInit))
        check.fraction("proj_drop_rate", proj_drop_rate, zero=True, one=False)
        exits = check.classifier(heads, shape.blocks, num_classes, in_chans, global_pool, drop_rate)
        shape.check(check, bottleneck=bottleneck, extension_twice=extension_twice)
        check.done()

        make_layer = partial(SeqConv2d, bottleneck=bottleneck, norm_layer=shape.norm)
        dropping = partial(make_layer, drop_rate=proj_drop_rate, dropout=dropout)
        layers = partial(dropping, windowed=windowed is True)
        extensions = partial(dropping, windowed=windowed is not False)
        stages = [
            SeqStage(
                template.opening(shape, width, make_layer)
                if stage == 0
                else shape.downsampling(stage, extensions, extension_twice),
                shape.residual_blocks(stage, layers),
            )
            for stage in range(count)
        ]
        features = stages[-1].out_width
        super().__init__(
            template.stem(in_chans, width, shape.norm),
            stages,
            _FinalUnit(features, drop_rate, dropout, shape.norm),
            Head(features, num_classes, global_pool=global_pool),
            exits,
            strides=[template.stride * 2**stage for stage in range(count)],
        )
        self.drop_rate = drop_rate
        _initialize(self, head_init)


@dataclass(frozen=True)
class _Shape:
    """Number of blocks N, width, group size k and subgroups c of each stage, and the norm."""

    blocks: Sequence[int]
    widths: Sequence[int]
    group_sizes: Sequence[int]
    subgroups: Sequence[int]
    norm: NormName

    def check(self, arguments: Arguments, *, bottleneck: bool, extension_twice: bool) -> None:
        """Add the problems of arguments that are not consistent."""
        for stage, (width, k, c) in enumerate(zip(self.widths, self.group_sizes, self.subgroups, strict=True)):
            at = f"in stage {stage}"
            arguments.require(width % k == 0, f"width is {width} {at}: expected a multiple of group_size, {k}")
            arguments.require(k % c == 0, f"subgroups is {c} {at}: expected a divisor of group_size, {k}")
            arguments.require(c == 1 or bottleneck, f"subgroups is {c} {at}: expected 1 without bottleneck")
        for stage, (old, new) in enumerate(pairwise(self.widths)):
            more, k = new - old, self.group_sizes[stage]
            arguments.require(
                more > 0 and more % k == 0,
                f"widths are {old} and then {new}: expected them to grow by a multiple of group_size, {k}",
            )
            arguments.require(
                more == old or not extension_twice,
                f"widths are {old} and then {new}: with extension_twice expected them to double",
            )

    def layer(self, stage: int, make: Any, in_width: int, width: int) -> SeqConv2d:
        """Create a SeqConv layer with a stage's group size and subgroups."""
        layer: SeqConv2d = make(in_width, width, group_size=self.group_sizes[stage], subgroups=self.subgroups[stage])
        return layer

    def downsize(self, stage: int) -> ConvUnit:
        """Create the strided unit before a stage, with as many groups as the stage's layers have in total."""
        width = self.widths[stage]
        groups = width // self.group_sizes[stage] * self.subgroups[stage]
        return ConvUnit(width, width, stride=2, groups=groups, norm_layer=self.norm)

    def downsampling(self, stage: int, make: Any, extension_twice: bool) -> Downsampling:
        """Create the entry of a later stage; its extension has the group size of the stage before."""
        old, new = self.widths[stage - 1 : stage + 1]
        extension = self.layer(stage - 1, make, old, new - old)
        return Downsampling(extension, self.downsize(stage), extension_twice=extension_twice)

    def residual_blocks(self, stage: int, make: Any) -> list[ResidualBlock]:
        """Create a stage's blocks."""
        width = self.widths[stage]
        return [ResidualBlock(partial(self.layer, stage, make, width, width)) for _ in range(self.blocks[stage])]


@dataclass(frozen=True)
class _Template:
    """Properties of the networks that the argument `stem` selects.

    Attributes:
        widths: Widths of the stages, before widening.
        stem_width: Number of channels of the stem.
        stem_strides: Strides of the stem's 3x3 units.
        opening_strides: Whether a strided unit follows the first SeqConv layer.
    """

    widths: tuple[int, ...]
    stem_width: int
    stem_strides: tuple[int, ...]
    opening_strides: bool

    @property
    def stride(self) -> int:
        """Stride of the first stage's output with respect to the image."""
        return math.prod(self.stem_strides) * (2 if self.opening_strides else 1)

    def stem(self, in_chans: int, width: int, norm: NormName) -> "_Stem":
        """Create the stem."""
        return _Stem(in_chans, width, self.stem_strides, norm)

    def opening(self, shape: _Shape, stem_width: int, make: Any) -> Opening:
        """Create the entry of the first stage: a dense layer without dropout."""
        layer = shape.layer(0, partial(make, windowed=False), stem_width, shape.widths[0])
        return Opening(layer, shape.downsize(0) if self.opening_strides else None)


_TEMPLATES: dict[StemName, _Template] = {
    "cifar": _Template((16, 32, 48), stem_width=16, stem_strides=(1,), opening_strides=False),
    "imagenet": _Template((64, 128, 256, 512), stem_width=32, stem_strides=(2, 1), opening_strides=True),
}


class _Stem(Stem):
    """3x3 units with BN-ReLU."""

    def __init__(self, in_chans: int, width: int, strides: Sequence[int], norm: NormName) -> None:
        super().__init__(in_chans, width, math.prod(strides))
        self.units = nn.Sequential()
        for stride in strides:
            self.units.append(ConvUnit(in_chans, width, stride=stride, norm_layer=norm))
            in_chans = width

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        activated: Tensor = self.units(x)
        return activated


class _FinalUnit(nn.Module):
    """Dropout and a 1x1 unit; not an `nn.Sequential`, which timm's `features_only` would dissolve."""

    def __init__(self, width: int, drop_rate: float, dropout: Dropout, norm: NormName) -> None:
        super().__init__()
        self.drop = nn.Dropout2d(drop_rate) if dropout == "groups" else nn.Dropout(drop_rate)
        self.unit = ConvUnit(width, width, kernel_size=1, norm_layer=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        activated: Tensor = self.unit(self.drop(x))
        return activated


def _initialize(model: nn.Module, head_init: HeadInit) -> None:
    """Initialize as in the released code, He-uniform by fan-out, and every block as the identity; classifiers apart."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            classes, features = module.weight.shape
            bound = math.sqrt(3 / classes if head_init == "released" else 6 / (features + classes))
            nn.init.uniform_(module.weight, -bound, bound)
            nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, ResidualBlock):
            for group in module.second.modules():
                if isinstance(group, GroupUnit):
                    nn.init.zeros_(group.make.conv.weight)


def _cifar_variants() -> dict[str, dict[str, Any]]:
    """Tables 3 and 5, with the widths that reproduce the printed counts, not the released class's 16, 32, 64."""
    dropped = dict(drop_rate=0.1, proj_drop_rate=0.1)
    sizes = {
        "k8_r4_n1": (8, 4, 1),
        "k16_r10_n1": (16, 10, 1),
        "k16_r4_n1": (16, 4, 1),
        "k16_r3_n1_2_2": (16, 3, (1, 2, 2)),
    }
    narrow = {"k16_r7_n1": (16, 7, 1), "k32_r12_n3": (32, 12, 3)}
    variants = {
        f"seqresnet_{name}": dict(group_size=k, widening=r, units=n, **dropped) for name, (k, r, n) in sizes.items()
    }
    variants["seqresnet_k8_r3_n1_2_1_dense"] = dict(
        group_size=8, widening=3, units=(1, 2, 1), windowed=False, **dropped
    )
    for name, (k, r, n) in narrow.items():
        variants[f"seqresnet_b_{name}"] = dict(group_size=k, widening=r, units=n, bottleneck=True, **dropped)
    return variants


def _imagenet_variants() -> dict[str, dict[str, Any]]:
    """Tables 2 and 4."""
    shared = dict(stem="imagenet", bottleneck=True, group_size=(32, 64, 64, 128))
    return {
        "seqresnet_b22": dict(widening=2, units=(1, 1, 2, 1), **shared),
        "seqresnet_b42": dict(widening=2, units=(3, 4, 5, 3), **shared),
        "seqresnext24": dict(widening=4, units=(1, 1, 3, 1), subgroups=(8, 8, 4, 4), **shared),
    }


_FIRST_CONV = dict(first_conv="stem.units.0.conv")
_PAPER = "1811.10798"
register_variants(SeqResNet, _cifar_variants(), cifar_cfg(_PAPER) | _FIRST_CONV)
register_variants(SeqResNet, _imagenet_variants(), imagenet_cfg(_PAPER) | _FIRST_CONV)
