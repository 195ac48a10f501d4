"""Segmentation networks: FC-DenseNet (Jegou et al. 2017) and FC-Log-DenseNet (Log-DenseNet, section 4.2)."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from skipweave.layers import (
    Concat,
    ConcatRead,
    NormLayer,
    NormName,
    SpanningStages,
    Unit,
    basic_body,
    carry_down,
    conv3x3,
    make_node_norm,
    read_and_run,
)
from skipweave.models.arguments import Arguments, Heads, TopologyArgument
from skipweave.models.classifier import initialize, predictions
from skipweave.models.log_densenet import check_last_head
from skipweave.models.registry import register_variants, segmentation_cfg
from skipweave.ops import crop
from skipweave.topology import Prune, SpanningPlan, Topology, TopologySpec

_UNITS_103 = (4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4)


class SegmentationHead(nn.Module):
    """BN-ReLU and a 1x1 convolution to class scores per pixel.

    Args:
        widths: Number of channels of each node read.
        num_classes: Number of classes.

    Shape: one (N, widths[s], H, W) per node to (N, num_classes, H, W).
    """

    def __init__(self, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.read = ConcatRead(widths)
        self.conv = nn.Conv2d(sum(widths), num_classes, kernel_size=1)

    def forward(self, *nodes: Tensor) -> Tensor:
        """Return class scores at the nodes' resolution."""
        return read_and_run(self.read, [self.conv], nodes)


class FCLogDenseNet(nn.Module):
    """Log-DenseNet V1 with stages of decreasing and again increasing resolution, and a head after every stage.

    Node i reads the nodes i - 2^k and the last node of the first stage, which has the full resolution. Nodes are
    carried to other resolutions: down by BN-ReLU, 1x1 convolution, dropout and average pool, up by BN-ReLU and a
    transposed 3x3 convolution, to the size that maps of that resolution had on the way down.

    There are two networks of 103 layers. `fc_logdensenet103` is that of the released run configuration (reading B of
    the paper): stem of 72 channels, and nodes reused from the way down. `fc_logdensenet103_paper` (reading A) has the
    size printed in the paper's Table 3, whose row has the 67.3 % mean IoU: stem of 48 channels, and every earlier node
    is upsampled. The paper does not state the stem; carrying nodes only as far as they are read, as it states, gives
    fewer parameters. `fc_logdensenet33` is a small form that is not in the paper.

    Args:
        units: Number of units per stage, for an odd number of stages: down, the coarsest, and up again.
        growth: Channels that a unit adds.
        topology: Nodes counted through all stages: the name of a pattern, to which the last node of the first stage is
            added as a source of all later ones; or a `Topology` or list of lists, as it is.
        stem_width: Number of channels of the stem; None is three times the growth (the released runs).
        reuse_down: Whether a stage on the way up takes nodes from the stage of its resolution on the way down (reading
            B, as released); otherwise every node is carried through all stages (reading A).
        prune: How far nodes are carried (`SpanningPlan`); reading A is `"birth"`.
        num_classes: Number of classes.
        in_chans: Number of image channels.
        heads: `"stages"` (default) for a head after every stage (deep supervision, `forward_anytime`); `"last"`; or the
            units, counted from 1 through all stages, after which there are heads in addition to the last one.
        proj_drop_rate: Dropout rate after every unit and in the transitions down, as in FC-DenseNet, whose rate is 0.2.
            The default is 0, as in the released code: the paper takes over FC-DenseNet's parameters, but does not state
            whether dropout is one of them.
        norm_layer: `"batch"`, `"group"` or `"layer"`, as in `ClassifierNet`.

    Raises:
        SkipweaveError: Arguments are invalid; names all of them.

    Shape: (N, in_chans, H, W) to (N, num_classes, H, W), any H and W.
    """

    labels_pixels = True

    def __init__(
        self,
        *,
        units: Sequence[int] = _UNITS_103,
        growth: int = 24,
        topology: TopologySpec = "exponential",
        stem_width: int | None = None,
        reuse_down: bool = True,
        prune: Prune = "exact",
        num_classes: int = 11,
        in_chans: int = 3,
        heads: Heads = "stages",
        proj_drop_rate: float = 0.0,
        norm_layer: NormLayer = "batch",
    ) -> None:
        super().__init__()
        check = Arguments()
        check.one_of("reuse_down", reuse_down, [True, False])
        check.one_of("prune", prune, ["exact", "birth", "none"])
        lengths, width = _check(check, units, growth, stem_width, num_classes, in_chans, proj_drop_rate)
        exit_units = check.exits(heads, lengths)
        norm = check.norm_layer(norm_layer)
        (graph,) = check.topologies(topology, [sum(lengths)], lambda graph, stage: _with_first_stage(graph, lengths[0]))
        check.done()
        depth = len(lengths) // 2
        scales = (*range(depth), *range(depth, -1, -1))
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.stem = conv3x3(in_chans, width)
        plan = SpanningPlan(graph, lengths, scales, prune, reuse_down)
        check_last_head(graph, plan.as_read)
        self.stages = SpanningStages(
            plan,
            Concat(norm),
            make_node_norm(width, norm),
            [width] + [growth] * sum(lengths),
            partial(basic_body, drop_rate=proj_drop_rate),
            lambda channels, stage: carry_down(channels, proj_drop_rate) if stage <= depth else _up(channels),
        )
        self.exit_units = exit_units
        self.head_units = (*exit_units, sum(lengths))
        *exits, self.head = [SegmentationHead(self.stages.exit_widths(unit), num_classes) for unit in self.head_units]
        self.exits = nn.ModuleList(exits)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (N, num_classes, H, W) of images (N, in_chans, H, W)."""
        return self.head(*next(self.stages.run(self.stem(x), self.head_units[-1:])))

    def forward_anytime(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the class scores of each head at its stage's resolution, and at the end the final ones.

        Nothing after a head is computed before the next value is requested.
        """
        yield from predictions(self.stages.run(self.stem(x), self.head_units), self.exits, self.head)

    def get_classifier(self) -> nn.Module:
        """Return the final 1x1 convolution."""
        return self.head.conv

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Save only the nodes for the backward pass and recompute the units there, with equal results."""
        self.stages.grad_checkpointing = enable


def _with_first_stage(pattern: Topology, last: int) -> Topology:
    """A pattern whose nodes after the first stage also read its last node."""
    reads = [{*sources, last} if node > last else sources for node, sources in enumerate(pattern.reads, start=1)]
    return Topology.from_lists(reads, name=f"{pattern.name} and the first stage's last node")


def _up(width: int) -> nn.Module:
    return nn.ConvTranspose2d(width, width, kernel_size=3, stride=2, padding=1, bias=False)


class Stack(NamedTuple):
    """Maps of one resolution, newest first, raw and normalized: both have readers in FC-DenseNet."""

    raw: tuple[Tensor, ...]
    normalized: tuple[Tensor, ...]


class DenseBlock(nn.Module):
    """FC-DenseNet's block of units: BN-ReLU, 3x3 convolution with bias, dropout.

    Args:
        widths: Number of channels of each input map, newest first; the first one is not normalized.
        topology: Sources of the units; node 0 is all input maps.
        growth: Channels that a unit adds.
        drop_rate: Dropout rate on the output of each unit.
        norm: The norm.
    """

    def __init__(
        self, widths: Sequence[int], topology: Topology, growth: int, drop_rate: float, norm: NormName
    ) -> None:
        super().__init__()
        self.topology = topology
        self.units = nn.ModuleList()
        self.norms = nn.ModuleList([make_node_norm(widths[0], norm)])
        for node in range(1, topology.units + 1):
            read = [width for source in topology.sources(node) for width in ([growth] if source else widths)]
            conv = nn.Conv2d(sum(read), growth, kernel_size=3, padding=1)
            self.units.append(Unit(ConcatRead(read), nn.Sequential(conv, nn.Dropout(drop_rate)), nn.Identity()))
            self.norms.append(make_node_norm(growth, norm))
        self.out_widths = (*[growth] * topology.units, *widths)

    def forward(self, x: Tensor, skip: Stack | None = None) -> Stack:
        """Return the stack `skip` extended by the raw map x and the outputs of the units."""
        raw = [x, *(skip.raw if skip else ())]
        nodes = [(self.norms[0](x), *(skip.normalized if skip else ()))]
        for node, (unit, norm) in enumerate(zip(self.units, self.norms[1:], strict=True), start=1):
            raw.insert(0, unit(*(part for source in self.topology.sources(node) for part in nodes[source])))
            nodes.append((norm(raw[0]),))
        return Stack(tuple(raw), tuple(part for node in reversed(nodes) for part in node))


class FCDenseNet(nn.Module):
    """FC-DenseNet: dense blocks of decreasing and again increasing resolution; only new maps of a block are upsampled.

    Args:
        units: Number of units per block, for an odd number of blocks: down, the coarsest, and up again.
        growth: Channels that a unit adds.
        topology: Name of a pattern, `Topology` or list of lists, for all blocks or per block, in which node 0 is all
            input maps of the block. What follows a block reads all of its maps.
        stem_width: Number of channels of the stem.
        num_classes: Number of classes.
        in_chans: Number of image channels.
        proj_drop_rate: Dropout rate after every unit and in the transitions down.
        norm_layer: `"batch"`, `"group"` or `"layer"`, as in `ClassifierNet`.

    Raises:
        SkipweaveError: Arguments are invalid; names all of them.

    Shape: (N, in_chans, H, W) to (N, num_classes, H, W); H and W at least 2^n for n transitions down.
    """

    labels_pixels = True

    def __init__(
        self,
        *,
        units: Sequence[int] = _UNITS_103,
        growth: int = 16,
        topology: TopologyArgument = "dense",
        stem_width: int = 48,
        num_classes: int = 11,
        in_chans: int = 3,
        proj_drop_rate: float = 0.2,
        norm_layer: NormLayer = "batch",
    ) -> None:
        super().__init__()
        check = Arguments()
        lengths, stem_width = _check(check, units, growth, stem_width, num_classes, in_chans, proj_drop_rate)
        norm = check.norm_layer(norm_layer)
        topologies = check.topologies(topology, lengths)
        check.done()
        depth = len(lengths) // 2
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.new_maps = lengths  # number of maps that each block adds to its stack
        self.stem = nn.Conv2d(in_chans, stem_width, kernel_size=3, padding=1)
        self.blocks = nn.ModuleList()
        self.downs = nn.ModuleList()
        self.ups = nn.ModuleList()
        widths: tuple[int, ...] = (stem_width,)
        skips: list[tuple[int, ...]] = []
        for index, graph in enumerate(topologies):
            if index > depth:
                made = lengths[index - 1] * growth
                self.ups.append(nn.ConvTranspose2d(made, made, kernel_size=3, stride=2))
                widths = (made, *skips.pop())
            block = DenseBlock(widths, graph, growth, proj_drop_rate, norm)
            self.blocks.append(block)
            if index < depth:
                skips.append(block.out_widths)
                self.downs.append(_MaxDown(block.out_widths, proj_drop_rate))
                widths = (sum(block.out_widths),)
        self.head = nn.Conv2d(sum(block.out_widths), num_classes, kernel_size=1)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (N, num_classes, H, W) of images (N, in_chans, H, W)."""
        depth = len(self.downs)
        x = self.stem(x)
        skips: list[Stack] = []
        for block, down in zip(self.blocks[:depth], self.downs, strict=True):
            skips.append(block(x))
            x = down(*skips[-1].normalized)
        stack = self.blocks[depth](x)
        for up, count, block in zip(self.ups, self.new_maps[depth:], self.blocks[depth + 1 :], strict=False):
            new = up(torch.cat(stack.raw[:count], dim=1))
            del stack  # frees its maps
            skip = skips.pop()
            # The transposed convolution gives 2h + 1 rows for the skip's 2h or 2h + 1, and likewise columns.
            stack = block(crop(new, skip.raw[0].shape[-2:]), skip)
        return self.head(torch.cat(stack.raw, dim=1))

    def get_classifier(self) -> nn.Module:
        """Return the final 1x1 convolution."""
        return self.head


class _MaxDown(nn.Module):
    """FC-DenseNet's transition down: BN-ReLU, 1x1 convolution with bias, dropout, 2x2 max pool."""

    def __init__(self, widths: Sequence[int], drop_rate: float) -> None:
        super().__init__()
        self.read = ConcatRead(widths)
        self.conv = nn.Conv2d(sum(widths), sum(widths), kernel_size=1)
        self.drop = nn.Dropout(drop_rate)
        self.pool = nn.MaxPool2d(2)

    def forward(self, *stack: Tensor) -> Tensor:
        return self.pool(read_and_run(self.read, [self.conv, self.drop], stack))


def _check(
    check: Arguments,
    units: Sequence[int],
    growth: int,
    stem_width: int | None,
    num_classes: int,
    in_chans: int,
    proj_drop_rate: float,
) -> tuple[tuple[int, ...], int]:
    """Check the arguments of both networks; return the units per stage and the stem's width, 3 growths by default."""
    lengths = check.units(units, max(1, len(units)) if isinstance(units, Sequence) else 11)
    check.require(len(lengths) % 2 == 1, f"units is {units!r}: expected an odd number of stages, down and up again")
    thrice = 3 * check.integer("growth", growth)
    width = thrice if stem_width is None else check.integer("stem_width", stem_width)
    check.integer("num_classes", num_classes)
    check.integer("in_chans", in_chans)
    check.fraction("proj_drop_rate", proj_drop_rate, zero=True, one=False)
    return lengths, width


def _dense_variants() -> dict[str, dict[str, Any]]:
    """FC-DenseNet56, 67 and 103 (Jegou et al., section 4)."""
    return {
        "fc_densenet56": dict(units=(4,) * 11, growth=12),
        "fc_densenet67": dict(units=(5,) * 11, growth=16),
        "fc_densenet103": dict(units=_UNITS_103, growth=16),
    }


register_variants(FCDenseNet, _dense_variants(), segmentation_cfg("1611.09326", classifier="head", first_conv="stem"))


def _log_variants() -> dict[str, dict[str, Any]]:
    """FC-Log-DenseNet V1-103, as released and of the size printed in Table 3 of the paper; and a small form of ours."""
    released = dict(units=_UNITS_103, growth=24)
    return {
        "fc_logdensenet33": dict(units=(3, 3, 4, 5, 4, 3, 3), growth=16),
        "fc_logdensenet103": released,
        "fc_logdensenet103_paper": dict(stem_width=48, reuse_down=False, prune="birth", **released),
    }


register_variants(
    FCLogDenseNet,
    _log_variants(),
    segmentation_cfg("1711.00002", classifier="head.conv", first_conv="stem"),
)
