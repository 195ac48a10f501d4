"""DelugeNet: nodes aggregated by cross-layer depthwise convolutions (Kuen et al. 2016, "DelugeNets")."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from torch import nn

from skipweave.layers import (
    Aggregation,
    Cross,
    Head,
    NormLayer,
    NormName,
    NormTransition,
    Stage,
    Sum,
    SumRead,
    Unit,
    conv1x1,
    residual_body,
)
from skipweave.models.arguments import Arguments, Heads, PerStage, Resolution, StemName, StemSpec, TopologyArgument
from skipweave.models.classifier import StagedNet, initialize
from skipweave.models.registry import cifar_cfg, imagenet_cfg, register_variants
from skipweave.models.sparsenet_sum import drop_path_rates, residual_stages
from skipweave.topology import Topology

CrossName = Literal["normalized", "plain", "sum"]
ShortcutName = Literal["transition", "projection"]

_EXPANSION = 2  # ratio of the channels of a node to those inside its unit
_AGGREGATIONS: dict[CrossName, Callable[[NormName], Aggregation]] = {
    "normalized": lambda norm: Cross(normalized=True, norm_layer=norm),
    "plain": lambda norm: Cross(normalized=False, norm_layer=norm),
    "sum": Sum,
}


class DelugeNet(StagedNet):
    """Stages of bottleneck units, each of which reads its sources through its own cross-layer convolution.

    Transitions between stages read the nodes in the same way, followed by BN and a 3x3 stride-2 convolution. With the
    CIFAR stem, the first unit of the first stage computes node 0 from the stem's output, and the topology is that of
    the other units; with the ImageNet stem, a 1x1 convolution computes node 0.

    Deviation: `cross="normalized"` normalizes a node once, not once per reader as the released code does; the function
    is the same. If the output of a stage is a single node, the transition normalizes it again.

    Args:
        units: Number of units, for all stages or per stage.
        widths: Number of channels inside the units, for all stages or per stage; nodes have twice as many.
        topology: Name of a pattern, `Topology` or list of lists, for all stages or per stage.
        cross: `"normalized"` sums batch-normalized nodes (the released code, counted in the paper's tables), `"plain"`
            is the paper's Equation 1, `"sum"` adds the nodes (with the dense topology a ResNet: Table 2's baselines).
        shortcut: Entry of later stages: `"transition"` as described above (with summed nodes, Table 2's 3x3), or
            `"projection"`, a 1x1 convolution parallel to the stage's first unit (Table 2's 1x1; requires `cross="sum"`
            and `stem="cifar"`).
        stem: `"cifar"` (3x3, three stages) or `"imagenet"` (7x7 stride 2 and max pool, four stages).
        stem_width: Number of channels of the stem; None is the first of `widths`.
        num_classes: See `ClassifierNet`, also for `in_chans`, `global_pool`, `heads`, `drop_rate` and
            `norm_layer`.
        drop_path_rate: Rate of stochastic depth of the last unit, rising linearly from 0 at the first (the paper's
            section 6 proposes it). A unit's node is dropped for all its readers; of a normalized node, a reader's
            biases remain.
        output_stride: Maximum stride with respect to the image; further strides become dilation. None: no limit.

    Raises:
        SkipweaveError: Arguments are invalid; names all of them.

    Shape: (N, in_chans, H, W) to (N, num_classes).
    """

    def __init__(
        self,
        *,
        units: PerStage = (8, 16, 24),
        widths: PerStage = (32, 64, 128),
        topology: TopologyArgument = "dense",
        cross: CrossName = "normalized",
        shortcut: ShortcutName = "transition",
        stem: StemName = "cifar",
        stem_width: int | None = None,
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
        spec = check.stem(stem)
        lengths = check.units(units, spec.stages)
        inner = check.per_stage("widths", widths, spec.stages)
        width = inner[0] if stem_width is None else stem_width
        check.integer("stem_width", width)
        check.one_of("cross", cross, list(_AGGREGATIONS))
        check.one_of("shortcut", shortcut, ["transition", "projection"])
        projects = shortcut == "projection"
        check.require(
            not projects or (cross == "sum" and stem == "cifar"),
            f"shortcut is 'projection' with cross={cross!r} and stem={stem!r}: expected cross='sum' and stem='cifar'",
        )
        check.fraction("drop_path_rate", drop_path_rate, zero=True, one=False)
        resolutions = check.resolutions(output_stride, spec.strides)
        norm = check.norm_layer(norm_layer)
        if stem == "cifar" and not projects:
            lengths = (lengths[0] - 1, *lengths[1:])
        exits = check.classifier(heads, lengths, num_classes, in_chans, global_pool, drop_rate)
        topologies = check.topologies(topology, lengths)
        check.done()

        if projects:
            stages = residual_stages(topologies, inner, resolutions, width, Sum(norm), _EXPANSION, drop_path_rate)
        else:
            rates = drop_path_rates(topologies, drop_path_rate)
            stages = _make_stages(topologies, inner, resolutions, rates, width, _AGGREGATIONS[cross](norm), spec, norm)
        features = stages[-1].out_width
        super().__init__(
            spec.make(in_chans, width, norm),
            stages,
            SumRead(features, norm),
            Head(features, num_classes, global_pool=global_pool, drop_rate=drop_rate),
            exits,
            strides=[resolution.stride for resolution in resolutions],
        )
        initialize(self)


def _make_stages(
    topologies: Sequence[Topology],
    inner: Sequence[int],
    resolutions: Sequence[Resolution],
    rates: Sequence[Sequence[float]],
    width: int,
    aggregation: Aggregation,
    spec: StemSpec,
    norm: NormName,
) -> list[Stage]:
    """Create the stages, each later one beginning with a transition."""
    stages: list[Stage] = []
    for graph, narrow, resolution, own_rates in zip(topologies, inner, resolutions, rates, strict=True):
        wide = _EXPANSION * narrow
        if not stages:
            entry = _first_entry(spec, width, wide, aggregation, norm)
        else:
            dilation = 0 if resolution.downsamples else resolution.dilation // 2
            carry = NormTransition(stages[-1].out_width, wide, dilation, norm)
            entry = nn.Sequential(OrderedDict(carry=carry, norm=aggregation.node(wide)))
        widths = [wide] * (graph.units + 1)
        make_body = partial(_body, dilation=resolution.dilation, norm=norm)
        stages.append(Stage(graph, aggregation, entry, widths, make_body, drop_path_rates=own_rates))
    return stages


def _first_entry(spec: StemSpec, width: int, wide: int, aggregation: Aggregation, norm: NormName) -> nn.Module:
    """Compute node 0 from the stem's output: by a unit (CIFAR), or max pool and 1x1 convolution (ImageNet)."""
    if not spec.max_pool:
        return Unit(SumRead(width, norm), _body(width, wide, norm=norm), aggregation.node(wide))
    return nn.Sequential(OrderedDict(pool=spec.entry(), conv=conv1x1(width, wide), norm=aggregation.node(wide)))


def _body(in_width: int, width: int, *, dilation: int = 1, norm: NormName) -> nn.Module:
    return residual_body(in_width, width // _EXPANSION, expansion=_EXPANSION, dilation=dilation, norm_layer=norm)


def _cifar_variants() -> dict[str, dict[str, Any]]:
    """Tables 1 and 2; the ledger records the overrides for their baselines."""
    return {
        "delugenet146": dict(units=(8, 16, 24), widths=(32, 64, 128), cross="normalized"),
        "delugenet218": dict(units=(12, 24, 36), widths=(32, 64, 128), cross="normalized"),
        "delugenet146_wide": dict(units=(8, 16, 24), widths=(56, 112, 224), cross="normalized"),
    }


def _imagenet_variants() -> dict[str, dict[str, Any]]:
    """Table 3."""
    units = {92: (7, 7, 8, 8), 104: (7, 8, 9, 10), 122: (7, 9, 11, 13)}
    return {
        f"delugenet{depth}": dict(units=lengths, widths=(64, 128, 256, 512), cross="normalized", stem="imagenet")
        for depth, lengths in units.items()
    }


register_variants(DelugeNet, _cifar_variants(), cifar_cfg("1611.05552"))
register_variants(DelugeNet, _imagenet_variants(), imagenet_cfg("1611.05552"))
