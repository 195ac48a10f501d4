"""Pre-activation ResNet and SparseNet[+]: summed nodes (He et al. 2016; SparseNet, section 3 and Table 3)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn

from skipweave.layers import CifarStem, Head, Stage, Sum, SumRead, conv1x1, residual_body
from skipweave.models.arguments import Arguments, PerStage, TopologyArgument, units_of_depth
from skipweave.models.classifier import initialize
from skipweave.models.exits import Heads
from skipweave.models.registry import cifar_cfg, register_variants
from skipweave.models.staged import StagedNet
from skipweave.topology import Topology


class SparseSumNet(StagedNet):
    """Three stages of summed bottleneck units: with the dense topology a pre-activation ResNet.

    In a stage with input x, node 0 is a 1x1 projection of x, node 1 a unit of x itself, and every later node a unit of
    the sum of the nodes that the topology names. Nodes are raw unit outputs, not running sums (SparseNet, Eq. 2).

    Deviation: no code of SparseNet[+] was published. The projection reads the raw input (not BN-ReLU of it) and has no
    batch norm; the stride sits on each strided unit's first convolution. The printed counts fit all of these.

    Args:
        units: Units, one number or one a stage.
        widths: Channels inside the units, one a stage; nodes have four times as many.
        topology: What units read: a pattern's name, a `Topology`, a list of lists, or one of these a stage.
        stem_width: Channels of the stem; None is the first of `widths`.
        depth: Layers, in place of `units`: 9n+2.
        num_classes: Classes; 0 leaves the classifier out.
        in_chans: Channels of the images.
        global_pool: timm's name of the head's pooling.
        heads: `"last"`; `"stages"` for exits after every other stage too (`forward_anytime`); or units, counted from 1
            through all stages, behind which exits are to be.
        drop_rate: Dropout before the classifier.
        output_stride: Largest stride against the image (1, 2 or 4); strides beyond it become dilation. None is 4.

    Raises:
        SkipweaveError: An argument does not fit; all that do not are named.

    Shape: (N, in_chans, H, W) to (N, num_classes).
    """

    def __init__(
        self,
        *,
        units: PerStage = 18,
        widths: Sequence[int] = (16, 32, 64),
        topology: TopologyArgument = "exponential",
        stem_width: int | None = None,
        depth: int | None = None,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        heads: Heads = "last",
        drop_rate: float = 0.0,
        output_stride: int | None = None,
    ) -> None:
        check = Arguments()
        if depth is not None:
            units = units_of_depth(depth, layers_a_unit=3, other_layers=2, stages=3)
        lengths = check.units(units, 3)
        inner = check.per_stage("widths", widths, 3)
        width = inner[0] if stem_width is None else stem_width
        check.whole("stem_width", width)
        exits = check.classifier(
            heads=heads, units=lengths, num_classes=num_classes, in_chans=in_chans, drop_rate=drop_rate
        )
        stride_limit = check.stride_limit(output_stride, [1, 2, 4])
        topologies = check.topologies(topology, lengths)
        check.done()

        stages, reductions = residual_stages(topologies, inner, width, stride_limit)
        features = stages[-1].out_width
        super().__init__(
            CifarStem(in_chans, width),
            stages,
            SumRead(features),
            Head(features, num_classes, global_pool=global_pool, drop_rate=drop_rate),
            exits,
            num_classes=num_classes,
            in_chans=in_chans,
            drop_rate=drop_rate,
            reductions=reductions,
            stem_width=0,
        )
        initialize(self)


def residual_stages(
    topologies: Sequence[Topology], inner: Sequence[int], width: int, stride_limit: int, expansion: int = 4
) -> tuple[list[Stage], list[int]]:
    """Chain stages of summed nodes, each beginning with its projection, and say each one's stride against the image.

    Args:
        topologies: One a stage.
        inner: Channels inside the units, one a stage.
        width: Channels that the first stage reads.
        stride_limit: Largest stride against the image; strides beyond it become dilation.
        expansion: Channels of a node for each one inside its unit.
    """

    def body(in_width: int, width: int, **options: Any) -> nn.Module:
        return residual_body(in_width, width // expansion, expansion=expansion, **options)

    stages: list[Stage] = []
    reductions: list[int] = []
    total, dilation = 1, 1
    for graph, narrow in zip(topologies, inner, strict=True):
        stride = 1
        if stages and 2 * total <= stride_limit:
            stride, total = 2, 2 * total
        elif stages:
            dilation *= 2
        wide = expansion * narrow
        stages.append(
            Stage(
                graph,
                Sum(),
                conv1x1(width, wide, stride),
                [wide] * (graph.units + 1),
                partial(body, dilation=dilation),
                first_body=partial(body, stride=stride, dilation=dilation),
                input_width=width,
            )
        )
        reductions.append(total)
        width = wide
    return stages, reductions


def _rows() -> dict[str, dict[str, Any]]:
    """Table 3, left, and the pre-activation ResNet-164 quoted in Table 2."""
    depths = {"preact_resnet": (56, 110, 164, 200, 1001, 2000), "sparsenet_sum": (56, 110, 200, 1001, 2000)}
    topologies = {"preact_resnet": "dense", "sparsenet_sum": "exponential"}
    return {
        f"{family}{depth}": dict(units=(depth - 2) // 9, topology=topologies[family])
        for family, all_depths in depths.items()
        for depth in all_depths
    }


register_variants(SparseSumNet, _rows(), cifar_cfg("1801.05895"))
