"""Pre-activation ResNet and SparseNet[+] (He et al. 2016; SparseNet, section 3 and Table 3)."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal

from timm.layers import calculate_drop_path_rates
from torch import nn

from skipweave.layers import CifarStem, Head, Mean, NormLayer, Stage, Sum, SumRead, conv1x1, residual_body
from skipweave.models.arguments import Arguments, Heads, PerStage, Resolution, TopologyArgument
from skipweave.models.classifier import StagedNet, initialize
from skipweave.models.registry import cifar_cfg, register_variants
from skipweave.topology import Topology


class SparseSumNet(StagedNet):
    """Three stages of bottleneck units on summed nodes: with the dense topology, a pre-activation ResNet.

    In a stage with input x, node 0 is a 1x1 projection of x, node 1 a unit of x itself, and every later node a unit of
    the sum of its sources. Nodes are raw unit outputs, not running sums (SparseNet, Eq. 2). Node 0 is computed,
    and its weights are counted, also where no unit reads it (`"plain"`, `"nearest_half"`).

    Deviation: no code of SparseNet[+] was published. The projection reads the raw input (not its BN-ReLU) and has no
    batch norm; the stride is that of each strided unit's first convolution. The printed counts agree with all of this.
    With sparse topologies there is no identity path, and gradients grow with depth (`studies/depth_sum_digits.yaml`).

    Args:
        units: Number of units, for all stages or per stage; None is 18, unless `depth` is given.
        widths: Number of channels inside the units, per stage; nodes have four times as many.
        topology: Name of a pattern, `Topology` or list of lists, for all stages or per stage.
        aggregation: `"sum"`, or `"mean"`: with the topology `"fractal"`, SparseNet's Figure 1d.
        stem_width: Number of channels of the stem; None is the first of `widths`.
        depth: Number of layers, instead of `units`: 9n+2.
        num_classes: See `ClassifierNet`, also for `in_chans`, `global_pool`, `heads`, `drop_rate` and
            `norm_layer`.
        drop_path_rate: Rate of stochastic depth of the last unit, rising linearly from 0 at the first.
        output_stride: Maximum stride with respect to the image (1, 2 or 4); further strides become dilation. None is 4.

    Raises:
        SkipweaveError: Arguments are invalid; names all of them.

    Shape: (N, in_chans, H, W) to (N, num_classes).
    """

    def __init__(
        self,
        *,
        units: PerStage | None = None,
        widths: Sequence[int] = (16, 32, 64),
        topology: TopologyArgument = "exponential",
        aggregation: Literal["sum", "mean"] = "sum",
        stem_width: int | None = None,
        depth: int | None = None,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        heads: Heads = "last",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        norm_layer: NormLayer = "batch",
        output_stride: int | None = None,
    ) -> None:
        check = Arguments()
        lengths = check.units_or_depth(units, depth, 3, default=18, layers_per_unit=3, other_layers=2)
        inner = check.per_stage("widths", widths, 3)
        check.one_of("aggregation", aggregation, ["sum", "mean"])
        width = inner[0] if stem_width is None else stem_width
        check.integer("stem_width", width)
        exits = check.classifier(heads, lengths, num_classes, in_chans, global_pool, drop_rate)
        check.fraction("drop_path_rate", drop_path_rate, zero=True, one=False)
        resolutions = check.resolutions(output_stride, [1, 2, 4])
        norm = check.norm_layer(norm_layer)
        topologies = check.topologies(topology, lengths)
        check.done()

        combine = Mean(norm) if aggregation == "mean" else Sum(norm)
        stages = residual_stages(topologies, inner, resolutions, width, combine, drop_path_rate=drop_path_rate)
        features = stages[-1].out_width
        super().__init__(
            CifarStem(in_chans, width),
            stages,
            SumRead(features, norm),
            Head(features, num_classes, global_pool=global_pool, drop_rate=drop_rate),
            exits,
            strides=[resolution.stride for resolution in resolutions],
        )
        initialize(self)


def residual_stages(
    topologies: Sequence[Topology],
    inner: Sequence[int],
    resolutions: Sequence[Resolution],
    width: int,
    aggregation: Sum,
    expansion: int = 4,
    drop_path_rate: float = 0.0,
) -> list[Stage]:
    """Create stages of summed or averaged nodes, each beginning with its projection.

    Args:
        topologies: Topology of each stage.
        inner: Number of channels inside the units, per stage.
        resolutions: Resolution of each stage.
        width: Number of input channels of the first stage.
        aggregation: How nodes are read, and their norm.
        expansion: Ratio of the channels of a node to those inside its unit.
        drop_path_rate: Rate of stochastic depth of the last unit, rising linearly from 0 at the first.
    """

    def body(in_width: int, width: int, **options: Any) -> nn.Module:
        norm = aggregation.norm_layer
        return residual_body(in_width, width // expansion, expansion=expansion, norm_layer=norm, **options)

    stages: list[Stage] = []
    rates = drop_path_rates(topologies, drop_path_rate)
    for graph, narrow, resolution, own_rates in zip(topologies, inner, resolutions, rates, strict=True):
        stride, wide = 1 + resolution.downsamples, expansion * narrow
        stages.append(
            Stage(
                graph,
                aggregation,
                conv1x1(width, wide, stride),
                [wide] * (graph.units + 1),
                partial(body, dilation=resolution.dilation),
                first_body=partial(body, stride=stride, dilation=resolution.dilation),
                input_width=width,
                drop_path_rates=own_rates,
            )
        )
        width = wide
    return stages


def drop_path_rates(topologies: Sequence[Topology], last: float) -> list[list[float]]:
    """Rate of stochastic depth of each unit, per stage, rising linearly from 0 at the first to `last` at the last."""
    rates: Iterator[float] = iter(calculate_drop_path_rates(last, sum(graph.units for graph in topologies)))  # type: ignore[arg-type]
    return [[next(rates) for _ in range(graph.units)] for graph in topologies]


def _variants() -> dict[str, dict[str, Any]]:
    """SparseNet's Table 3, left, and the pre-activation ResNet-164 quoted in Table 2."""
    depths = {"preact_resnet": (56, 110, 164, 200, 1001, 2000), "sparsenet_sum": (56, 110, 200, 1001, 2000)}
    topologies = {"preact_resnet": "dense", "sparsenet_sum": "exponential"}
    return {
        f"{family}{depth}": dict(units=(depth - 2) // 9, topology=topologies[family])
        for family, all_depths in depths.items()
        for depth in all_depths
    }


register_variants(SparseSumNet, _variants(), cifar_cfg("1801.05895"))
