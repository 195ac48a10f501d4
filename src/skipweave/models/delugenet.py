"""DelugeNet: nodes joined by cross-layer depthwise convolutions (Kuen et al. 2016, "DelugeNets")."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from torch import nn

from skipweave.layers import (
    Aggregation,
    Cross,
    Head,
    NormTransition,
    Stage,
    Sum,
    SumRead,
    Unit,
    conv1x1,
    residual_body,
)
from skipweave.models.arguments import Arguments, PerStage, TopologyArgument
from skipweave.models.cifar_and_imagenet import Form, FormName, checked_form
from skipweave.models.classifier import initialize
from skipweave.models.exits import Heads
from skipweave.models.registry import cifar_cfg, imagenet_cfg, register_variants
from skipweave.models.sparsenet_sum import residual_stages
from skipweave.models.staged import StagedNet
from skipweave.topology import Topology

CrossName = Literal["normalized", "normalised", "plain", "sum"]
ShortcutName = Literal["transition", "projection"]

_EXPANSION = 2  # channels of a node for each one inside a unit
_AGGREGATIONS: dict[CrossName, Callable[[], Aggregation]] = {
    "normalized": partial(Cross, normalized=True),
    "normalised": partial(Cross, normalized=True),  # the British spelling of earlier configs
    "plain": partial(Cross, normalized=False),
    "sum": Sum,
}


class DelugeNet(StagedNet):
    """Stages of bottleneck units, each reading the stage's earlier nodes through its own convolution across them.

    Between stages the nodes are read in the same way, then carried on by BN and a 3x3 stride-2 convolution. In the
    CIFAR form the first of the first stage's units makes node 0 out of the stem's output, and the topology is that of
    the others; in the ImageNet form a 1x1 convolution makes it.

    Deviation: `cross="normalized"` normalizes a node once, not once a reader as the released code does; the function is
    the same. A topology that lets a stage leave a single node has it normalized again by the transition.

    Args:
        units: Units, one number or one a stage.
        widths: Channels inside the units, one a stage; nodes have twice as many.
        topology: What units read: a pattern's name, a `Topology`, a list of lists, or one of these a stage.
        cross: `"normalized"` sums batch-normalized nodes (the released code, and what the paper's tables count),
            `"plain"` is the paper's Equation 1, `"sum"` adds nodes up (with the dense topology a ResNet: Table 2's
            baselines).
        shortcut: What carries nodes into a stage: `"transition"` as above (with summed nodes Table 2's 3x3), or
            `"projection"`, a 1x1 convolution beside the stage's first unit (Table 2's 1x1; needs `cross="sum"` and
            `stem="cifar"`).
        stem: `"cifar"` (3x3, three stages) or `"imagenet"` (7x7 stride 2 and max pool, four stages).
        stem_width: Channels of the stem; None is the first of `widths`.
        num_classes: Classes; 0 leaves the classifier out.
        in_chans: Channels of the images.
        global_pool: timm's name of the head's pooling.
        heads: `"last"`; `"stages"` for exits after every other stage too (`forward_anytime`); or units, counted from 1
            through all stages, behind which exits are to be.
        drop_rate: Dropout before the classifier.
        output_stride: Largest stride against the image; strides beyond it become dilation. None: the form's own: 4, 32.

    Raises:
        SkipweaveError: An argument does not fit; all that do not are named.

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
        stem: FormName = "cifar",
        stem_width: int | None = None,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        heads: Heads = "last",
        drop_rate: float = 0.0,
        output_stride: int | None = None,
    ) -> None:
        check = Arguments()
        form = checked_form(check, stem)
        lengths = check.units(units, form.stages)
        inner = check.per_stage("widths", widths, form.stages)
        width = inner[0] if stem_width is None else stem_width
        check.whole("stem_width", width)
        check.one_of("cross", cross, list(_AGGREGATIONS))
        check.one_of("shortcut", shortcut, ["transition", "projection"])
        projects = shortcut == "projection"
        check.require(
            not projects or (cross == "sum" and stem == "cifar"),
            "shortcut is 'projection': expected with it cross='sum' and stem='cifar'",
        )
        stride_limit = check.stride_limit(output_stride, form.strides)
        if stem == "cifar" and not projects:
            lengths = (lengths[0] - 1, *lengths[1:])
        exits = check.classifier(
            heads=heads, units=lengths, num_classes=num_classes, in_chans=in_chans, drop_rate=drop_rate
        )
        topologies = check.topologies(topology, lengths)
        check.done()

        if projects:
            stages, reductions = residual_stages(topologies, inner, width, stride_limit, _EXPANSION)
        else:
            stages, reductions = _make_stages(topologies, inner, width, _AGGREGATIONS[cross](), form, stride_limit)
        features = stages[-1].out_width
        super().__init__(
            form.make_stem(in_chans, width),
            stages,
            SumRead(features),
            Head(features, num_classes, global_pool=global_pool, drop_rate=drop_rate),
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
    inner: Sequence[int],
    width: int,
    aggregation: Aggregation,
    form: Form,
    stride_limit: int,
) -> tuple[list[Stage], list[int]]:
    """Chain the stages, each with the transition before it, and say each one's stride against the image."""
    stages: list[Stage] = []
    reductions: list[int] = []
    stride, dilation = form.stride, 1
    for graph, narrow in zip(topologies, inner, strict=True):
        wide = _EXPANSION * narrow
        if not stages:
            entry = _first_entry(form, width, wide, aggregation)
        else:
            strides = 2 * stride <= stride_limit
            carry = NormTransition(stages[-1].out_width, wide, dilation=0 if strides else dilation)
            entry = nn.Sequential(OrderedDict(carry=carry, norm=aggregation.node(wide)))
            stride, dilation = (2 * stride, dilation) if strides else (stride, 2 * dilation)
        stages.append(Stage(graph, aggregation, entry, [wide] * (graph.units + 1), partial(_body, dilation=dilation)))
        reductions.append(stride)
    return stages, reductions


def _first_entry(form: Form, width: int, wide: int, aggregation: Aggregation) -> nn.Module:
    """Make node 0 of the network from the stem's output: a unit (CIFAR), or max pool and 1x1 convolution (ImageNet)."""
    if form.stages == 3:
        return Unit(SumRead(width), _body(width, wide), aggregation.node(wide))
    return nn.Sequential(OrderedDict(pool=form.entry(), conv=conv1x1(width, wide), norm=aggregation.node(wide)))


def _body(in_width: int, width: int, dilation: int = 1) -> nn.Module:
    return residual_body(in_width, width // _EXPANSION, expansion=_EXPANSION, dilation=dilation)


def _cifar_rows() -> dict[str, dict[str, Any]]:
    """Tables 1 and 2; the ledger records which overrides make their baselines."""
    return {
        "delugenet146": dict(units=(8, 16, 24), widths=(32, 64, 128), cross="normalized"),
        "delugenet218": dict(units=(12, 24, 36), widths=(32, 64, 128), cross="normalized"),
        "delugenet146_wide": dict(units=(8, 16, 24), widths=(56, 112, 224), cross="normalized"),
    }


def _imagenet_rows() -> dict[str, dict[str, Any]]:
    """Table 3."""
    units = {92: (7, 7, 8, 8), 104: (7, 8, 9, 10), 122: (7, 9, 11, 13)}
    return {
        f"delugenet{depth}": dict(units=lengths, widths=(64, 128, 256, 512), cross="normalized", stem="imagenet")
        for depth, lengths in units.items()
    }


register_variants(DelugeNet, _cifar_rows(), cifar_cfg("1611.05552"))
register_variants(DelugeNet, _imagenet_rows(), imagenet_cfg("1611.05552"))
