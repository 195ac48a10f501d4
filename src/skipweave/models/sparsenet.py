"""DenseNet and SparseNet: concatenated nodes (Huang et al. 2017; Zhu et al. 2018, "Sparsely Aggregated ...")."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn

from skipweave.layers import (
    Concat,
    ConcatRead,
    ConcatTransition,
    Head,
    NodeNorm,
    Stage,
    basic_body,
    bottleneck_body,
)
from skipweave.models.arguments import Arguments, PerStage, TopologyArgument, units_of_depth
from skipweave.models.cifar_and_imagenet import Form, FormName, checked_form
from skipweave.models.classifier import initialize
from skipweave.models.densenet_weights import from_densenet_layout
from skipweave.models.exits import Heads
from skipweave.models.registry import cifar_cfg, imagenet_cfg, register_variants
from skipweave.models.staged import StagedNet
from skipweave.topology import Topology

_Size = tuple[int, int | tuple[int, ...]]  # depth and growth


class SparseNet(StagedNet):
    """Stages of concatenated nodes: DenseNet, SparseNet and whatever other topology is given.

    Args:
        units: Units, one number or one a stage.
        growth: Channels a unit adds, one number or one a stage.
        topology: What units read: a pattern's name, a `Topology`, a list of lists, or one of these a stage.
        bottleneck: Whether units have a 1x1 convolution to 4 x growth first ("-B").
        compression: Share of the channels that a transition keeps ("-C").
        stem: `"cifar"` (3x3, three stages) or `"imagenet"` (7x7 stride 2 and max pool, four stages).
        stem_width: Channels of the stem; None is twice the first stage's growth.
        depth: Layers, in place of `units` (CIFAR forms: 3n+4, with bottleneck 6n+4).
        num_classes: Classes; 0 leaves the classifier out.
        in_chans: Channels of the images.
        global_pool: timm's name of the head's pooling.
        head_grid: Side of the grid that the head pools to (`Head`).
        heads: `"last"`; `"stages"` for exits after every other stage too (`forward_anytime`); or units, counted from 1
            through all stages, behind which exits are to be.
        drop_rate: Dropout before the classifier.
        proj_drop_rate: Dropout on what each unit makes (DenseNet, section 3.4: 0.2 without augmentation).
        output_stride: Largest stride against the image; pools beyond it become dilation. None: the form's own (4, 32).

    Raises:
        SkipweaveError: An argument does not fit; all that do not are named.

    Shape: (N, in_chans, H, W) to (N, num_classes).
    """

    def __init__(
        self,
        *,
        units: PerStage = 12,
        growth: PerStage = 12,
        topology: TopologyArgument = "exponential",
        bottleneck: bool = False,
        compression: float = 1.0,
        stem: FormName = "cifar",
        stem_width: int | None = None,
        depth: int | None = None,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        heads: Heads = "last",
        head_grid: int = 1,
        drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        output_stride: int | None = None,
    ) -> None:
        check = Arguments()
        form = checked_form(check, stem)
        count = form.stages
        if depth is not None:
            units = units_of_depth(depth, layers_a_unit=1 + bool(bottleneck), other_layers=count + 1, stages=count)
        lengths = check.units(units, count)
        growths = check.per_stage("growth", growth, count)
        width = 2 * growths[0] if stem_width is None else stem_width
        check.whole("stem_width", width)
        check.one_of("bottleneck", bottleneck, [True, False])
        check.fraction("compression", compression, zero=False, one=True)
        check.fraction("proj_drop_rate", proj_drop_rate, zero=True, one=False)
        exits = check.classifier(
            heads=heads, units=lengths, num_classes=num_classes, in_chans=in_chans, drop_rate=drop_rate
        )
        stride_limit = check.stride_limit(output_stride, form.strides)
        topologies = check.topologies(topology, lengths)
        check.done()

        stages, reductions = _make_stages(
            topologies,
            growths,
            width,
            partial(bottleneck_body if bottleneck else basic_body, drop_rate=proj_drop_rate),
            form,
            compression=compression,
            stride_limit=stride_limit,
        )
        features = stages[-1].out_width
        super().__init__(
            form.make_stem(in_chans, width),
            stages,
            ConcatRead([features]),
            Head(features, num_classes, global_pool=global_pool, drop_rate=drop_rate, grid=head_grid),
            exits,
            num_classes=num_classes,
            in_chans=in_chans,
            drop_rate=drop_rate,
            reductions=reductions,
            stem_width=form.stem_map(width),
        )
        initialize(self)


def _make_stages(
    topologies: Sequence[Topology],
    growths: Sequence[int],
    width: int,
    make_body: Callable[..., nn.Module],
    form: Form,
    *,
    compression: float,
    stride_limit: int,
) -> tuple[list[Stage], list[int]]:
    """Chain the stages, each with its pool or transition, and say each one's stride against the image."""
    entry = form.entry()
    stages: list[Stage] = []
    reductions: list[int] = []
    stride, dilation = form.stride, 1
    for graph, growth in zip(topologies, growths, strict=True):
        if stages:
            pools = 2 * stride <= stride_limit
            width = int(compression * stages[-1].out_width)
            entry = ConcatTransition(stages[-1].out_width, width, dilation=0 if pools else dilation)
            stride, dilation = (2 * stride, dilation) if pools else (stride, 2 * dilation)
        stages.append(
            Stage(
                graph,
                Concat(),
                nn.Sequential(OrderedDict(carry=entry, norm=NodeNorm(width))),
                [width] + [growth] * graph.units,
                partial(make_body, dilation=dilation),
            )
        )
        reductions.append(stride)
    return stages, reductions


def _named(growth: int | Sequence[int]) -> str:
    return str(growth) if isinstance(growth, int) else "_".join(map(str, growth))


def _cifar_rows() -> dict[str, dict[str, Any]]:
    """The rows of SparseNet's Tables 2 and 3, built by the one rule that fits most of them: a stem of 2 x growth.

    The ledger records which overrides reproduce the rows that need others. Units are (depth - 4) // 3 a stage, with
    bottleneck half of that: the names 1001 and 400 do not divide evenly.
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
    rows: dict[str, dict[str, Any]] = {}
    for family, sizes in plain.items():
        for depth, growth in sizes:
            units = (depth - 4) // 3
            rows[f"{family}{depth}_{_named(growth)}"] = dict(units=units, growth=growth, topology=topologies[family])
    for family, sizes in bottlenecked.items():
        for depth, growth in sizes:
            rows[f"{family}_bc{depth}_{_named(growth)}"] = dict(
                units=(depth - 4) // 6, growth=growth, topology=topologies[family], bottleneck=True, compression=0.5
            )
    return rows


def _imagenet_rows() -> dict[str, dict[str, Any]]:
    """The rows of SparseNet's Table 4; DenseNet-264's stages are those that fit its counts, not DenseNet's own."""
    units = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32), 264: (6, 12, 64, 32)}
    shared = dict(bottleneck=True, compression=0.5, stem="imagenet")
    rows = {f"densenet{d}_32": dict(units=n, growth=32, topology="dense", **shared) for d, n in units.items()}
    for depth, growth in [(121, 32), (169, 32), (201, 32), (201, 48)]:
        rows[f"sparsenet{depth}_{growth}"] = dict(
            units=units[depth], growth=growth, topology="exponential", stem_width=growth, head_grid=3, **shared
        )
    return rows


register_variants(SparseNet, _cifar_rows(), cifar_cfg("1801.05895"), from_densenet_layout)
register_variants(SparseNet, _imagenet_rows(), imagenet_cfg("1801.05895"), from_densenet_layout)
