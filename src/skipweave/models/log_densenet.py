"""Log-DenseNet V1, V2 and LogLog for classification (Hu et al. 2017, "Log-DenseNet: How to Sparsify a DenseNet")."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from skipweave import topology as patterns
from skipweave.layers import (
    BlockCompression,
    Concat,
    ConcatRead,
    Head,
    NormLayer,
    NormName,
    SpanningStages,
    Stage,
    basic_body,
    bottleneck_body,
    carry_down,
    make_node_norm,
)
from skipweave.models.arguments import Arguments, Heads, PerStage, StemName, StemSpec, TopologyArgument
from skipweave.models.classifier import ClassifierNet, Exit, Nodes, StagedNet, depth_groups, initialize
from skipweave.models.registry import cifar_cfg, imagenet_cfg, register_variants
from skipweave.topology import Prune, SpanningPlan, Topology, TopologySpec
from skipweave_config.errors import SkipweaveError

_LOGLOG_INPUTS = 4  # of a unit at least


class LogDenseNetV1(ClassifierNet):
    """A topology that spans the network: a node read at another resolution is carried there by its own transition.

    Heads read the last node of a stage and its sources (section 3.1).

    Args:
        units: Number of units, for all stages or per stage.
        growth: Channels that a unit adds.
        topology: Name of a pattern, `Topology` or list of lists, with nodes counted through all stages. "loglog" has
            the last node of every stage as a hub; "loglog(...)" has the arguments that are given.
        bottleneck: Whether units begin with a 1x1 convolution to 4 x growth channels. Table 1's operation counts are
            those without it.
        min_inputs: Minimum number of sources of a unit, with the topology "loglog" only; None is 4.
        hub_multiplier: Factor on the growth of hubs, with the topology "loglog" only (Figure 8: 1 or 3).
        prune: How far nodes are carried: `"exact"`, to their last reader, or `"none"`, to the last stage.
        stem: `"cifar"` (3x3, three stages) or `"imagenet"` (7x7 stride 2 and max pool, four stages).
        stem_width: Number of channels of the stem; None is twice the growth.
        num_classes: See `ClassifierNet`, also for `in_chans`, `global_pool`, `heads`, `drop_rate` and
            `norm_layer`.
        proj_drop_rate: Dropout rate on the output of each unit.

    Raises:
        SkipweaveError: Arguments are invalid; names all of them.

    Shape: (N, in_chans, H, W) to (N, num_classes).
    """

    stages: SpanningStages

    def __init__(
        self,
        *,
        units: PerStage = 12,
        growth: int = 16,
        topology: TopologySpec = "exponential",
        bottleneck: bool = False,
        min_inputs: int | None = None,
        hub_multiplier: int = 1,
        prune: Prune = "exact",
        stem: StemName = "cifar",
        stem_width: int | None = None,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        heads: Heads = "last",
        drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        norm_layer: NormLayer = "batch",
    ) -> None:
        check = Arguments()
        spec, lengths, growth, width = _check_shared(check, stem, units, growth, stem_width, bottleneck, proj_drop_rate)
        exits = check.classifier(heads, lengths, num_classes, in_chans, global_pool, drop_rate)
        norm = check.norm_layer(norm_layer)
        if min_inputs is not None:
            check.integer("min_inputs", min_inputs)
        check.integer("hub_multiplier", hub_multiplier)
        check.one_of("prune", prune, ["exact", "none"])
        if topology != "loglog":
            check.require(
                hub_multiplier == 1,
                f"hub_multiplier is {hub_multiplier!r} with topology {topology!r}: expected 1, or topology 'loglog', "
                "which has the hubs",
            )
            check.require(
                min_inputs in (None, _LOGLOG_INPUTS),
                f"min_inputs is {min_inputs!r} with topology {topology!r}: expected topology 'loglog', or min_inputs "
                "as an argument of the topology only",
            )
        check.done()
        graph, hubs = _graph(topology, lengths, _LOGLOG_INPUTS if min_inputs is None else min_inputs)
        plan = SpanningPlan(graph, lengths, prune=prune)
        check_last_head(graph, plan.as_read)
        widths = [width] + [growth * (hub_multiplier if node in hubs else 1) for node in range(1, graph.units + 1)]
        body = partial(bottleneck_body, norm_layer=norm) if bottleneck else basic_body
        spanning = SpanningStages(
            plan,
            Concat(norm),
            nn.Sequential(OrderedDict(carry=spec.entry(), norm=make_node_norm(width, norm))),
            widths,
            partial(body, drop_rate=proj_drop_rate),
            lambda channels, stage: carry_down(channels),
        )
        reads = {unit: spanning.exit_widths(unit) for unit in sorted({*exits, *plan.ends})}
        make_head = partial(Head, num_classes=num_classes, global_pool=global_pool)
        super().__init__(
            spec.make(in_chans, width, norm),
            spanning,
            ConcatRead(reads[graph.units]),
            make_head(sum(reads[graph.units]), drop_rate=drop_rate),
            {unit: Exit(ConcatRead(reads[unit]), make_head(sum(reads[unit]))) for unit in exits},
            [
                (sum(reads[end]), stride, f"stages.{stage}")
                for stage, (end, stride) in enumerate(zip(plan.ends, spec.strides, strict=True))
            ],
        )
        initialize(self)

    def run(self, x: Tensor, stops: Sequence[int] = ()) -> Iterator[Nodes]:
        """Run the stages lazily; yield what exits after the units `stops` read, then what the last head reads."""
        return self.stages.run(x, (*stops, self.stages.plan.ends[-1]))

    def run_stages(self, x: Tensor) -> Iterator[Nodes]:
        """Run the stages lazily and yield the nodes that a head after each stage reads."""
        return self.stages.run(x, self.stages.plan.ends)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Save only the nodes for the backward pass and recompute units and stem there, with equal results."""
        self.grad_checkpointing = enable
        self.stages.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> Callable[[str], tuple[float, ...]]:
        """Parameter groups for timm's layer-wise learning rates: by stage, or by quarters of a stage."""
        plan = self.stages.plan
        starts = [sum(plan.units[:stage]) for stage in range(len(plan.units))]

        def position(found: re.Match[str]) -> tuple[int, float]:
            if found[2]:
                return int(found[2]), 0.0
            node = int(found[1] or 0)
            stage = plan.births[node + 1] if found[1] else 0
            return stage, 0.0 if coarse else (node - starts[stage]) / plan.units[stage]

        return depth_groups(r"stages\.(?:units\.(\d+)|carries\.\d+_to_(\d+)|entry)", position)


class LogDenseNetV2(StagedNet):
    """Topologies within the stages, whose units also read the compressed output of all earlier stages (section 3.2).

    Node 0 of a stage is the concatenation of the compressed features, which `BlockCompression` makes between stages.

    Args:
        units: See `LogDenseNetV1`, also for the other arguments; here the bottleneck is the default.
        topology: For all stages or per stage: the name of a pattern, of which units also read node 0 and the head reads
            the last node and its sources (the default is the paper's); or a `Topology` or list of lists, as it is.
            Transitions read all nodes of their stage.
        compressed_width: Number of channels to which the new nodes of a stage are compressed, at most as many as they
            have. None is growth x (floor(log2(L + 1)) + 1) with L units in total, as in the released code; the paper
            has growth x log2 L, which is not a whole number.

    Raises:
        SkipweaveError: Arguments are invalid; names all of them.

    Shape: (N, in_chans, H, W) to (N, num_classes).
    """

    def __init__(
        self,
        *,
        units: PerStage = 12,
        growth: int = 16,
        topology: TopologyArgument = "exponential",
        compressed_width: int | None = None,
        bottleneck: bool = True,
        stem: StemName = "cifar",
        stem_width: int | None = None,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        heads: Heads = "last",
        drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        norm_layer: NormLayer = "batch",
    ) -> None:
        check = Arguments()
        spec, lengths, growth, width = _check_shared(check, stem, units, growth, stem_width, bottleneck, proj_drop_rate)
        exits = check.classifier(heads, lengths, num_classes, in_chans, global_pool, drop_rate)
        norm = check.norm_layer(norm_layer)
        kept = growth * (sum(lengths) + 1).bit_length() if compressed_width is None else compressed_width
        check.integer("compressed_width", kept)
        topologies = _compressed_topologies(check, topology, lengths)
        check.done()
        body = partial(bottleneck_body, norm_layer=norm) if bottleneck else basic_body
        make_body = partial(body, drop_rate=proj_drop_rate)
        stages = _compressing_stages(topologies, growth, width, kept, make_body, spec.entry(), norm)
        features = stages[-1].out_width
        super().__init__(
            spec.make(in_chans, width, norm),
            stages,
            ConcatRead([features]),
            Head(features, num_classes, global_pool=global_pool, drop_rate=drop_rate),
            exits,
            strides=spec.strides,
        )
        initialize(self)


def _check_shared(
    check: Arguments,
    stem: StemName,
    units: PerStage,
    growth: int,
    stem_width: int | None,
    bottleneck: bool,
    proj_drop_rate: float,
) -> tuple[StemSpec, tuple[int, ...], int, int]:
    """Check the arguments of both networks; return stem, units per stage, growth and stem width."""
    spec = check.stem(stem)
    lengths = check.units(units, spec.stages)
    growth = check.integer("growth", growth)
    if stem_width is not None:
        check.integer("stem_width", stem_width)
    check.one_of("bottleneck", bottleneck, [True, False])
    check.fraction("proj_drop_rate", proj_drop_rate, zero=True, one=False)
    return spec, lengths, growth, 2 * growth if stem_width is None else stem_width


def _graph(spec: TopologySpec, lengths: Sequence[int], min_inputs: int) -> tuple[Topology, frozenset[int]]:
    """The topology over all stages, and its hubs, which include the last node of every stage (released code)."""
    total = sum(lengths)
    if spec != "loglog":
        return patterns.make(spec, total), frozenset()
    ends = [sum(lengths[: stage + 1]) for stage in range(len(lengths))]
    return patterns.loglog(total, min_inputs, hubs=ends), frozenset(patterns.loglog_hubs(total, ends))


def _compressed_topologies(check: Arguments, spec: TopologyArgument, lengths: Sequence[int]) -> tuple[Topology, ...]:
    """V2's topologies: of patterns, units also read node 0 and the head the last node and its sources."""

    def adapt(pattern: Topology, stage: int) -> Topology:
        reads = [{0, *pattern.sources(node)} for node in range(1, pattern.units + 1)]
        graph = Topology.from_lists([*reads, {pattern.units, *reads[-1]}], name=f"{pattern.name} and node 0")
        if stage == len(lengths) - 1:
            check_last_head(pattern, graph)
        return graph

    *compressed, last = check.topologies(spec, lengths, adapt)
    return (*(Topology((*graph.reads[:-1], tuple(range(graph.units + 1))), graph.name) for graph in compressed), last)


def check_last_head(graph: Topology, as_read: Topology) -> None:
    """Check that the last head, which reads the last node and its sources, leaves no node unread.

    Topologies with parallel nodes (`fractal`) can end with several that only their own reader reads.

    Args:
        graph: The topology.
        as_read: The same with the sources of the last head in place of those of its reader.

    Raises:
        SkipweaveError: The reader of the topology has sources that nothing else reads.
    """
    if unread := sorted(set(graph.output) & set(as_read.unread)):
        raise SkipweaveError(
            f"topology {graph.name!r} ends with {unread}, which the last head does not read: heads read the last node "
            "and its sources; choose another topology or another number of units"
        )


def _compressing_stages(
    topologies: Sequence[Topology],
    growth: int,
    width: int,
    kept: int,
    make_body: Callable[[int, int], nn.Module],
    entry: nn.Module,
    norm: NormName,
) -> list[Stage]:
    """Create V2's stages, whose new nodes are compressed to `kept` channels."""
    stages: list[Stage] = []
    for graph in topologies:
        new = graph.units * growth
        widths = [width] + [growth] * graph.units
        carry = nn.Sequential(OrderedDict(carry=entry, norm=make_node_norm(width, norm)))
        stages.append(Stage(graph, Concat(norm), carry, widths, make_body))
        entry = BlockCompression(new, width, min(kept, new))
        width += min(kept, new)
    return stages


def _cifar_variants() -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Tables 1 and 2 and Figures 3a and 8, named (units per stage)_(growth): V1 and LogLog, and V2."""
    grid = [(n, g) for n in (12, 32, 52) for g in (16, 24, 32)]
    figure = [(n, 32) for n in (12, 22, 32, 42, 52, 62, 72, 82)]
    sizes = sorted({*grid, *figure, (32, 12)})
    v1 = {f"logdensenet_v1_{n}_{g}": dict(units=n, growth=g) for n, g in sizes}
    loglog = {f"loglogdensenet_{n}_{g}": dict(units=n, growth=g, topology="loglog", bottleneck=True) for n, g in figure}
    v2 = {f"logdensenet_v2_{n}_{g}": dict(units=n, growth=g) for n, g in sizes}
    return v1 | loglog, v2


def _imagenet_variants() -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Log-DenseNet-169, 265 and 369 of Figures 3b and 7: V1, and V2 under the plain name."""
    stages = {169: (6, 12, 32, 32), 265: (6, 12, 64, 48), 369: (8, 16, 80, 80)}
    shared = dict(growth=32, bottleneck=True, stem="imagenet")
    v1 = {f"logdensenet{depth}_v1": dict(units=units, **shared) for depth, units in stages.items()}
    v2 = {f"logdensenet{depth}": dict(units=units, **shared) for depth, units in stages.items()}
    return v1, v2


_PAPER = "1711.00002"
register_variants(LogDenseNetV1, _cifar_variants()[0], cifar_cfg(_PAPER))
register_variants(LogDenseNetV1, _imagenet_variants()[0], imagenet_cfg(_PAPER))
register_variants(LogDenseNetV2, _cifar_variants()[1], cifar_cfg(_PAPER))
register_variants(LogDenseNetV2, _imagenet_variants()[1], imagenet_cfg(_PAPER))
