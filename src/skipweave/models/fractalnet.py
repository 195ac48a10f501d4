"""FractalNet (Larsson et al. 2017, "FractalNet: Ultra-Deep Neural Networks without Residuals")."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from skipweave.layers import Head, Mean, NormLayer, NormName, PostActivation, Stage, Stem, conv3x3, make_norm
from skipweave.layers.aggregation import mean_nodes
from skipweave.models.arguments import Arguments, PerStage
from skipweave.models.classifier import StagedNet, initialize
from skipweave.models.registry import cifar_cfg, register_variants
from skipweave.topology import fractal


class ImageStem(Stem):
    """No layer: all columns of the first stage read the image."""

    def __init__(self, in_chans: int) -> None:
        super().__init__(in_chans, in_chans, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the image."""
        return x


class PooledMean(nn.Module):
    """2x2 max pool of each node, and their mean: the end of a stage (the released code pools before it joins)."""

    def forward(self, *nodes: Tensor) -> Tensor:
        """Return the mean, (N, C, H / 2, W / 2)."""
        return mean_nodes([functional.max_pool2d(node, 2) for node in nodes])


class _PooledAtTheEnd(PostActivation):
    def collector(self, widths: Sequence[int]) -> nn.Module:
        return PooledMean()


class FractalNet(StagedNet):
    """Stages of parallel columns of 3x3 convolutions with norm and ReLU, which are averaged where they join.

    Deviation: without drop-path and dropout inside the stages. Convolutions have no bias, which their norm would
    cancel, and are initialized by He et al., not by Glorot and Bengio. The channels of the released code give 33.7
    million parameters, as here; 38.6 million are printed.

    Args:
        units: Number of units, for all stages or per stage: 2^C - 1 for C columns.
        widths: Number of channels of the units, per stage.
        num_classes: See `ClassifierNet`, also for `in_chans`, `global_pool`, `drop_rate` and `norm_layer`.

    Raises:
        SkipweaveError: Arguments are invalid; names all of them.

    Shape: (N, in_chans, H, W) to (N, num_classes).
    """

    def __init__(
        self,
        *,
        units: PerStage = 7,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        norm_layer: NormLayer = "batch",
    ) -> None:
        check = Arguments()
        count = check.number_of_stages("widths", widths)
        lengths = check.units(units, count)
        channels = check.per_stage("widths", widths, count)
        check.classifier("last", lengths, num_classes, in_chans, global_pool, drop_rate)
        norm = check.norm_layer(norm_layer)
        check.done()

        aggregation = _PooledAtTheEnd(Mean(), partial(_norm_relu, norm=norm))
        stages: list[Stage] = []
        before = in_chans
        for n, width in zip(lengths, channels, strict=True):
            stages.append(Stage(fractal(n), aggregation, nn.Identity(), [before] + [width] * n, conv3x3))
            before = width
        super().__init__(
            ImageStem(in_chans),
            stages,
            nn.Identity(),
            Head(channels[-1], num_classes, global_pool=global_pool, drop_rate=drop_rate),
            strides=[2 ** (number + 1) for number in range(count)],
        )
        initialize(self)


def _norm_relu(width: int, norm: NormName) -> nn.Module:
    return nn.Sequential(make_norm(width, norm), nn.ReLU())


#: The first unit of each of the three columns.
_FIRST_CONVS = tuple(f"stages.0.units.{unit}.body" for unit in (0, 2, 6))
_VARIANTS: dict[str, dict[str, Any]] = {"fractalnet20": dict(units=7, widths=(64, 128, 256, 512, 512))}
register_variants(FractalNet, _VARIANTS, dict(cifar_cfg("1605.07648"), pool_size=(1, 1), first_conv=_FIRST_CONVS))
