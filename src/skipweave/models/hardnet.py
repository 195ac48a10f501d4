"""HarDNet (Chao et al. 2019, "HarDNet: A Low Memory Traffic Network")."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from skipweave import topology as patterns
from skipweave.layers import Concat, Head, NormLayer, NormName, PostActivation, Stage, Stem, conv3x3, make_norm
from skipweave.models.arguments import Arguments, Heads, PerStage
from skipweave.models.classifier import StagedNet, initialize
from skipweave.models.registry import imagenet_cfg, register_variants
from skipweave.ops import concatenate
from skipweave.topology import Topology


class HarDNetStem(Stem):
    """3x3 stride-2 convolution, norm, ReLU6."""

    def __init__(self, in_chans: int, width: int, norm_layer: NormName) -> None:
        super().__init__(in_chans, width, stride=2)
        self.conv = nn.Conv2d(in_chans, width, kernel_size=3, stride=2, padding=1, bias=False)
        self.norm = _norm_relu6(width, norm_layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        return self.norm(self.conv(x))


class HarDStage(Stage):
    """A stage of units of several widths, whose output is compressed by a 1x1 convolution, norm and ReLU6.

    Args:
        topology: Sources of the units and of the output.
        entry: Computes node 0 from the stage's input.
        widths: Number of channels of the nodes 0..n.
        width: Number of channels of the output.
        norm: The norm.

    Shape: (N, C, H, W) to (N, width, H', W').
    """

    def __init__(self, topology: Topology, entry: nn.Module, widths: Sequence[int], width: int, norm: NormName) -> None:
        aggregation = PostActivation(Concat(), partial(_norm_relu6, norm=norm))
        super().__init__(topology, aggregation, entry, widths, conv3x3)
        self.collect = Compression(self.out_width, width, norm)
        self.out_width = width


class Compression(nn.Module):
    """Concatenation, 1x1 convolution, norm, ReLU6."""

    def __init__(self, in_width: int, width: int, norm: NormName) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_width, width, kernel_size=1, bias=False)
        self.norm = _norm_relu6(width, norm)

    def forward(self, *nodes: Tensor) -> Tensor:
        """Return the activated map."""
        return self.norm(self.conv(concatenate(nodes)))


class HarDNet(StagedNet):
    """Stages of 3x3 convolutions, each reading the nodes at distances 2^k for which 2^k divides its number.

    A unit whose number 2^k divides has growth x multiplier^k channels, rounded to an even number; node 0 is the stage's
    input. The last and all odd nodes are the stage's output. Convolutions end with norm and ReLU6, as in the released
    code (ReLU in the paper).

    Args:
        units: Number of units, per stage.
        growth: Number of channels of odd units, per stage.
        widths: Number of output channels, per stage.
        strides: Stride of each stage with respect to the image; where it doubles, a stage begins with a 2x2 max pool.
        multiplier: m of the paper.
        stem_widths: Number of channels of the stem's convolution and of the one after it.
        num_classes: See `ClassifierNet`, also for `in_chans`, `global_pool`, `heads`, `drop_rate` and `norm_layer`.

    Raises:
        SkipweaveError: Arguments are invalid; names all of them.

    Shape: (N, in_chans, H, W) to (N, num_classes).
    """

    pools_after_stem = True

    def __init__(
        self,
        *,
        units: PerStage = (8, 16, 16, 16, 4),
        growth: PerStage = (14, 16, 20, 40, 160),
        widths: Sequence[int] = (128, 256, 320, 640, 1024),
        strides: Sequence[int] = (4, 8, 8, 16, 32),
        multiplier: float = 1.7,
        stem_widths: Sequence[int] = (32, 64),
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        heads: Heads = "last",
        drop_rate: float = 0.0,
        norm_layer: NormLayer = "batch",
    ) -> None:
        check = Arguments()
        count = check.number_of_stages("widths", widths)
        lengths = check.units(units, count)
        growths = check.per_stage("growth", growth, count)
        outputs = check.per_stage("widths", widths, count)
        first, second = check.per_stage("stem_widths", stem_widths, 2)
        number = isinstance(multiplier, int | float) and not isinstance(multiplier, bool)
        check.require(number and 1 <= multiplier <= 10, f"multiplier is {multiplier!r}: expected a number from 1 to 10")
        check.require(
            isinstance(strides, Sequence)
            and len(strides) == count
            and strides[0] == 4
            and all(b in (a, 2 * a) for a, b in pairwise(strides)),
            f"strides is {strides!r}: expected one per stage, the first 4, each equal to the one before or twice it",
        )
        exits = check.classifier(heads, lengths, num_classes, in_chans, global_pool, drop_rate)
        norm = check.norm_layer(norm_layer)
        check.done()

        stages: list[HarDStage] = []
        halved = [False, *(b == 2 * a for a, b in pairwise(strides))]
        for n, growth_of_stage, output, pooled in zip(lengths, growths, outputs, halved, strict=True):
            width = stages[-1].out_width if stages else second
            entry = _pool(pooled) if stages else _second_layer(first, second, norm)
            nodes = [width, *(unit_width(i, growth_of_stage, multiplier) for i in range(1, n + 1))]
            stages.append(HarDStage(_with_odd_outputs(n), entry, nodes, output, norm))
        super().__init__(
            HarDNetStem(in_chans, first, norm),
            stages,
            nn.Identity(),
            Head(outputs[-1], num_classes, global_pool=global_pool, drop_rate=drop_rate),
            exits,
            strides=strides,
        )
        initialize(self)


def unit_width(number: int, growth: int, multiplier: float) -> int:
    """Number of channels of a unit, counted from 1.

    >>> [unit_width(number, 14, 1.7) for number in range(1, 5)]
    [14, 24, 14, 40]
    """
    width = float(growth)
    while number % 2 == 0:
        number //= 2
        width *= multiplier
    return (int(width + 1) // 2) * 2


def _with_odd_outputs(n: int) -> Topology:
    reads = patterns.harmonic(n).reads[:-1]
    return Topology.from_lists([*reads, {n, *range(1, n, 2)}], "harmonic with odd outputs")


def _pool(pooled: bool) -> nn.Module:
    return nn.MaxPool2d(2) if pooled else nn.Identity()


def _second_layer(in_width: int, width: int, norm: NormName) -> nn.Module:
    return nn.Sequential(conv3x3(in_width, width), _norm_relu6(width, norm), nn.MaxPool2d(3, stride=2, padding=1))


def _norm_relu6(width: int, norm: NormName) -> nn.Module:
    return nn.Sequential(make_norm(width, norm), nn.ReLU6())


_VARIANTS: dict[str, dict[str, Any]] = {
    "hardnet68": dict(
        units=(8, 16, 16, 16, 4),
        growth=(14, 16, 20, 40, 160),
        widths=(128, 256, 320, 640, 1024),
        strides=(4, 8, 8, 16, 32),
        stem_widths=(32, 64),
    ),
    "hardnet85": dict(
        units=(8, 16, 16, 16, 16, 4),
        growth=(24, 24, 28, 36, 48, 256),
        widths=(192, 256, 320, 480, 720, 1280),
        strides=(4, 8, 8, 16, 16, 32),
        stem_widths=(48, 96),
    ),
}
register_variants(HarDNet, _VARIANTS, imagenet_cfg("1909.00948"))
