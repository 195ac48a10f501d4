"""Residual networks for CIFAR that the papers compare with: ResNet, Wide ResNet, ResNeXt.

He et al. (2016), "Deep Residual Learning for Image Recognition"; Zagoruyko and Komodakis (2016), "Wide Residual
Networks"; Xie et al. (2017), "Aggregated Residual Transformations for Deep Neural Networks". Pre-activation ResNets of
bottlenecks are in `sparsenet_sum.py`.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from timm.layers import create_conv2d
from timm.models.resnetv2 import DownsampleConv, PreActBasic
from torch import Tensor, nn
from torch.nn import functional

from skipweave.layers import BlockStage, CifarStem, Head, NormLayer, NormName, Stem, conv3x3, make_norm
from skipweave.layers.block_stage import make_activation
from skipweave.models.arguments import Arguments, Heads, PerStage
from skipweave.models.classifier import StagedNet, initialize
from skipweave.models.registry import cifar_cfg, register_variants

BlockName = Literal["basic", "preact", "bottleneck"]

_STAGES = 3
_EXPANSION = 4  # of the bottleneck


class NormedStem(Stem):
    """3x3 convolution, norm and ReLU."""

    def __init__(self, in_chans: int, width: int, norm_layer: NormLayer) -> None:
        super().__init__(in_chans, width, stride=1)
        self.conv = conv3x3(in_chans, width)
        self.norm = make_norm(width, norm_layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        return self.norm(self.conv(x)).relu()


class ZeroPadShortcut(nn.Module):
    """Every second pixel and channels of zeros: the shortcut without parameters ("option A" of He et al.).

    With fewer output than input channels, the first channels.

    Args:
        width: Number of output channels.
        stride: Stride.

    Shape: (N, C, H, W) to (N, width, H / stride, W / stride), rounded up.
    """

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.width = width
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the map with zeros after its channels."""
        return functional.pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.width - x.shape[1]))


class ResidualBlock(nn.Module):
    """Convolutions in parallel to a shortcut, their sum, ReLU.

    timm's blocks work in place, which fails with backward hooks.

    Args:
        body: The convolutions with their norms.
        shortcut: Identity, `ZeroPadShortcut`, or a convolution with a norm.

    Shape: (N, C, H, W) to the shape that body and shortcut share.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated sum."""
        return (self.body(x) + self.shortcut(x)).relu()


class CifarResNet(StagedNet):
    """Three stages of residual blocks.

    Args:
        units: Number of blocks, for all stages or per stage.
        widths: Number of channels of the blocks, per stage; of bottlenecks, a quarter of their outputs.
        block: `"basic"` (two 3x3 convolutions and a shortcut that pads with zeros: ResNet), `"preact"` (norm and
            activation before them, and a 1x1 convolution as shortcut: Wide ResNet), or `"bottleneck"` (1x1, grouped 3x3
            and 1x1 convolutions: ResNeXt).
        cardinality: Number of groups of the bottleneck.
        base_width: Width of each group in a first stage of 64 channels.
        stem_width: Number of channels of the stem.
        num_classes: See `ClassifierNet`, also for `in_chans`, `global_pool`, `heads`, `drop_rate` and `norm_layer`.

    Raises:
        SkipweaveError: Arguments are invalid; names all of them.

    Shape: (N, in_chans, H, W) to (N, num_classes).
    """

    def __init__(
        self,
        *,
        units: PerStage = 18,
        widths: Sequence[int] = (16, 32, 64),
        block: BlockName = "basic",
        cardinality: int = 1,
        base_width: int = 64,
        stem_width: int = 16,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        heads: Heads = "last",
        drop_rate: float = 0.0,
        norm_layer: NormLayer = "batch",
    ) -> None:
        check = Arguments()
        lengths = check.units(units, _STAGES)
        planes = check.per_stage("widths", widths, _STAGES)
        check.one_of("block", block, ["basic", "preact", "bottleneck"])
        for name, value in (("cardinality", cardinality), ("base_width", base_width), ("stem_width", stem_width)):
            check.integer(name, value)
        check.require(
            block == "bottleneck" or (cardinality, base_width) == (1, 64),
            f"cardinality is {cardinality} and base_width {base_width} with block {block!r}: expected 1 and 64, or "
            "block 'bottleneck'",
        )
        exits = check.classifier(heads, lengths, num_classes, in_chans, global_pool, drop_rate)
        norm = check.norm_layer(norm_layer)
        check.done()

        makers: dict[str, Callable[..., nn.Module]] = {
            "basic": _basic,
            "preact": _preact,
            "bottleneck": partial(_bottleneck, cardinality=cardinality, base_width=base_width),
        }
        before = norm if block == "preact" else None  # of convolutions and heads
        outputs = [width * (_EXPANSION if block == "bottleneck" else 1) for width in planes]
        super().__init__(
            CifarStem(in_chans, stem_width) if before else NormedStem(in_chans, stem_width, norm),
            _make_stages(makers[block], lengths, planes, outputs, stem_width, norm, before),
            make_activation(outputs[-1], before),
            Head(outputs[-1], num_classes, global_pool=global_pool, drop_rate=drop_rate),
            exits,
            strides=[1, 2, 4],
        )
        initialize(self)


def _make_stages(
    make_block: Callable[..., nn.Module],
    lengths: Sequence[int],
    planes: Sequence[int],
    outputs: Sequence[int],
    width: int,
    norm: NormName,
    before: NormName | None,
) -> list[BlockStage]:
    """Create the stages; the first block of the later ones has a stride of 2. `width` is that of the stem."""
    stages = []
    for number, (length, narrow, output) in enumerate(zip(lengths, planes, outputs, strict=True)):
        blocks = [
            make_block(width if first else output, narrow, output, stride=2 if first and number else 1, norm=norm)
            for first in (True, *[False] * (length - 1))
        ]
        stages.append(BlockStage(blocks, output, before))
        width = output
    return stages


def _basic(in_width: int, width: int, output: int, *, stride: int, norm: NormName) -> nn.Module:
    layers = _conv_norm(in_width, width, norm, stride=stride), nn.ReLU(), _conv_norm(width, output, norm)
    same = stride == 1 and in_width == output
    return ResidualBlock(nn.Sequential(*layers), nn.Identity() if same else ZeroPadShortcut(output, stride))


def _bottleneck(
    in_width: int, width: int, output: int, *, stride: int, norm: NormName, cardinality: int, base_width: int
) -> nn.Module:
    inner = cardinality * (width * base_width // 64)
    layers = (
        _conv_norm(in_width, inner, norm, kernel=1),
        nn.ReLU(),
        _conv_norm(inner, inner, norm, stride=stride, groups=cardinality),
        nn.ReLU(),
        _conv_norm(inner, output, norm, kernel=1),
    )
    same = stride == 1 and in_width == output
    shortcut = nn.Identity() if same else _conv_norm(in_width, output, norm, kernel=1, stride=stride)
    return ResidualBlock(nn.Sequential(*layers), shortcut)


def _conv_norm(
    in_width: int, width: int, norm: NormName, *, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Module:
    conv = create_conv2d(in_width, width, kernel, stride=stride, groups=groups)
    return nn.Sequential(OrderedDict(conv=conv, norm=make_norm(width, norm)))


def _preact(in_width: int, width: int, output: int, *, stride: int, norm: NormName) -> nn.Module:
    def norm_relu(width: int, **_: object) -> nn.Module:
        return nn.Sequential(make_norm(width, norm), nn.ReLU())

    return PreActBasic(
        in_width, output, stride=stride, conv_layer=create_conv2d, norm_layer=norm_relu, proj_layer=DownsampleConv
    )


def _wide(depth: int, factor: int) -> dict[str, Any]:
    widths = (16 * factor, 32 * factor, 64 * factor)
    return dict(units=(depth - 4) // 6, widths=widths, block="preact")


def _resnext(cardinality: int) -> dict[str, Any]:
    return dict(
        units=3, widths=(64, 128, 256), block="bottleneck", cardinality=cardinality, base_width=64, stem_width=64
    )


_BASIC: dict[str, dict[str, Any]] = {"resnet110": dict(units=18, widths=(16, 32, 64), block="basic")}
_WIDE = {f"wide_resnet{depth}_{factor}": _wide(depth, factor) for depth, factor in ((16, 8), (28, 10), (40, 4))}
_RESNEXT = {f"resnext29_{groups}x64d": _resnext(groups) for groups in (8, 16)}
register_variants(CifarResNet, _BASIC, cifar_cfg("1512.03385"))
register_variants(CifarResNet, _WIDE, cifar_cfg("1605.07146"))
register_variants(CifarResNet, _RESNEXT, cifar_cfg("1611.05431"))
