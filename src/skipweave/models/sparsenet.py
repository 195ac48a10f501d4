"""DenseNet and SparseNet (Huang et al. 2017; Zhu et al. 2018, "Sparsely Aggregated Convolutional Networks")."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, get_args

from torch import nn

from skipweave.layers import (
    Concat,
    ConcatRead,
    ConcatTransition,
    Head,
    NormLayer,
    NormName,
    Stage,
    basic_body,
    bottleneck_body,
    make_node_norm,
)
from skipweave.models.arguments import (
    Arguments,
    Heads,
    PerStage,
    Resolution,
    StemName,
    TopologyArgument,
)
from skipweave.models.classifier import StagedNet, initialize
from skipweave.models.densenet_state_dict import from_densenet_layout
from skipweave.models.registry import cifar_cfg, imagenet_cfg, register_variants
from skipweave.topology import Topology

DropAfter = Literal["unit", "convolution"]
_Size = tuple[int, int | tuple[int, ...]]  # depth and growth


class SparseNet(StagedNet):
    """DenseNet (topology "dense"), SparseNet ("exponential") and other networks of concatenated nodes.

    Args:
        units: Number of units, for all stages or per stage; None is 12, unless `depth` is given.
        growth: Channels that a unit adds, for all stages or per stage.
        topology: Name of a pattern, `Topology` or list of lists, for all stages or per stage.
        bottleneck: Whether units begin with a 1x1 convolution to 4 x growth channels ("-B").
        compression: Fraction of the channels that a transition keeps ("-C").
        stem: `"cifar"` (3x3, three stages) or `"imagenet"` (7x7 stride 2 and max pool, four stages).
        stem_width: Number of channels of the stem; None is twice the first stage's growth.
        depth: Number of layers, instead of `units` (with the CIFAR stem 3n+4, with bottleneck 6n+4).
        num_classes: See `ClassifierNet`, also for `in_chans`, `global_pool`, `heads`, `drop_rate` and
            `norm_layer`.
        head_grid: Side of the grid to which the head pools (`Head`).
        proj_drop_rate: Dropout rate of units (DenseNet, section 3.4: 0.2 without augmentation).
        proj_drop_after: Where units have dropout: after each `"unit"` (default, as in timm), or after each
            `"convolution"` but the stem's, so also in bottlenecks and transitions (DenseNet's paper and released code,
            the baseline of Log-DenseNet's Figure 3).
        output_stride: Maximum stride with respect to the image; further pools become dilation. None: no limit.

    Raises:
        SkipweaveError: Arguments are invalid; names all of them.

    Shape: (N, in_chans, H, W) to (N, num_classes).
    """

    def __init__(
        self,
        *,
        units: PerStage | None = None,
        growth: PerStage = 12,
        topology: TopologyArgument = "exponential",
        bottleneck: bool = False,
        compression: float = 1.0,
        stem: StemName = "cifar",
        stem_width: int | None = None,
        depth: int | None = None,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        heads: Heads = "last",
        head_grid: int = 1,
        drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        proj_drop_after: DropAfter = "unit",
        norm_layer: NormLayer = "batch",
        output_stride: int | None = None,
    ) -> None:
        check = Arguments()
        spec = check.stem(stem)
        count = spec.stages
        check.one_of("bottleneck", bottleneck, [True, False])
        lengths = check.units_or_depth(
            units, depth, count, default=12, layers_per_unit=1 + bool(bottleneck), other_layers=count + 1
        )
        growths = check.per_stage("growth", growth, count)
        width = 2 * growths[0] if stem_width is None else stem_width
        check.integer("stem_width", width)
        check.integer("head_grid", head_grid)
        check.fraction("compression", compression, zero=False, one=True)
        check.fraction("proj_drop_rate", proj_drop_rate, zero=True, one=False)
        check.one_of("proj_drop_after", proj_drop_after, get_args(DropAfter))
        exits = check.classifier(heads, lengths, num_classes, in_chans, global_pool, drop_rate)
        resolutions = check.resolutions(output_stride, spec.strides)
        norm = check.norm_layer(norm_layer)
        topologies = check.topologies(topology, lengths)
        check.done()

        inner_drop_rate = proj_drop_rate if proj_drop_after == "convolution" else 0.0
        bottlenecked = partial(bottleneck_body, inner_drop_rate=inner_drop_rate, norm_layer=norm)
        make_body = partial(bottlenecked if bottleneck else basic_body, drop_rate=proj_drop_rate)
        make_transition = partial(ConcatTransition, drop_rate=inner_drop_rate)
        stages = _make_stages(
            topologies, growths, resolutions, width, make_body, spec.entry(), make_transition, compression, norm
        )
        features = stages[-1].out_width
        super().__init__(
            spec.make(in_chans, width, norm),
            stages,
            ConcatRead([features]),
            Head(features, num_classes, global_pool=global_pool, drop_rate=drop_rate, grid=head_grid),
            exits,
            strides=[resolution.stride for resolution in resolutions],
        )
        initialize(self)


def _make_stages(
    topologies: Sequence[Topology],
    growths: Sequence[int],
    resolutions: Sequence[Resolution],
    width: int,
    make_body: Callable[..., nn.Module],
    entry: nn.Module,
    make_transition: Callable[[int, int, int], nn.Module],
    compression: float,
    norm: NormName,
) -> list[Stage]:
    """Create the stages, each beginning with `entry` (the first) or a transition."""
    stages: list[Stage] = []
    for graph, growth, resolution in zip(topologies, growths, resolutions, strict=True):
        if stages:
            width = int(compression * stages[-1].out_width)
            dilation = 0 if resolution.downsamples else resolution.dilation // 2
            entry = make_transition(stages[-1].out_width, width, dilation)
        stages.append(
            Stage(
                graph,
                Concat(norm),
                nn.Sequential(OrderedDict(carry=entry, norm=make_node_norm(width, norm))),
                [width] + [growth] * graph.units,
                partial(make_body, dilation=resolution.dilation),
            )
        )
    return stages


def _named(growth: int | Sequence[int]) -> str:
    return str(growth) if isinstance(growth, int) else "_".join(map(str, growth))


def _cifar_variants() -> dict[str, dict[str, Any]]:
    """SparseNet's Tables 2 and 3, all with a stem of 2 x growth, which reproduces most of the printed counts.

    The ledger records the overrides that reproduce the others. There are (depth - 4) // 3 units per stage, with
    bottleneck half of that: the depths 1001 and 400 do not divide evenly.
    """
    wide, wider = (16, 32, 64), (32, 64, 128)
    plain: dict[str, list[_Size]] = {
        "densenet": [(40, 12), (100, 12), (100, 24), (100, wide), (100, wider), (400, 12)],
        "sparsenet": [(40, 12), (40, 24), (100, 12), (100, 24), (100, 36), (100, wide), (100, wider)],
    }
    deep: list[_Size] = [(190, 40), (250, 24), (400, 4), (400, 24), (1001, 4), (1001, 24)]
    bottlenecked: dict[str, list[_Size]] = {
        "densenet": [(100, 12), (100, 24), (100, wide), (100, wider), *deep],
        "sparsenet": [(100, 12), (100, 24), (100, 36), (100, wide), (100, wider), (400, 12), (1001, 12)],
    }
    topologies = {"densenet": "dense", "sparsenet": "exponential"}
    variants: dict[str, dict[str, Any]] = {}
    for family, sizes in plain.items():
        for depth, growth in sizes:
            units = (depth - 4) // 3
            variants[f"{family}{depth}_{_named(growth)}"] = dict(
                units=units, growth=growth, topology=topologies[family]
            )
    for family, sizes in bottlenecked.items():
        for depth, growth in sizes:
            variants[f"{family}_bc{depth}_{_named(growth)}"] = dict(
                units=(depth - 4) // 6, growth=growth, topology=topologies[family], bottleneck=True, compression=0.5
            )
    return variants


def _imagenet_variants() -> dict[str, dict[str, Any]]:
    """SparseNet's Table 4; DenseNet-264 has the stages that reproduce the printed counts, not those of DenseNet."""
    units = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32), 264: (6, 12, 64, 32)}
    shared = dict(bottleneck=True, compression=0.5, stem="imagenet")
    variants = {f"densenet{d}_32": dict(units=n, growth=32, topology="dense", **shared) for d, n in units.items()}
    for depth, growth in [(121, 32), (169, 32), (201, 32), (201, 48)]:
        variants[f"sparsenet{depth}_{growth}"] = dict(
            units=units[depth], growth=growth, topology="exponential", stem_width=growth, head_grid=3, **shared
        )
    return variants


register_variants(SparseNet, _cifar_variants(), cifar_cfg("1801.05895"), from_densenet_layout)
register_variants(SparseNet, _imagenet_variants(), imagenet_cfg("1801.05895"), from_densenet_layout)
