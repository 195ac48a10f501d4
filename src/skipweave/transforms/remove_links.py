"""`remove_links`: remove links of a trained network, keeping the weights of the others."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from skipweave.layers import ChannelSparseConv2d, CrossConv, SpanningStages
from skipweave.topology import Link, Topology
from skipweave.tracing.copies import copied
from skipweave.tracing.example_inputs import InputSize
from skipweave.tracing.replicas import trials_of
from skipweave.tracing.unsupported_networks import check_supported
from skipweave.transforms.attachments import attached, carry_over
from skipweave.transforms.node_readers import Reader, readers
from skipweave.transforms.verification import Reference
from skipweave_config.errors import SkipweaveError

TopologyLists = list[list[int]] | list[list[list[int]]]


@dataclass(frozen=True)
class Removal:
    """A network with fewer links, and its report.

    Attributes:
        model: The new network.
        topology: Its `topology` argument: a list of lists of nodes, or one per stage.
        removed: The removed links.
        unread: Stage (from 0) and node of the nodes that lost all readers. They are still computed, to no effect: the
            numbers of nodes and units do not change.
    """

    model: nn.Module
    topology: TopologyLists
    removed: tuple[Link, ...]
    unread: tuple[tuple[int, int], ...]


def remove_links(
    model: nn.Module,
    links: Iterable[Link],
    build: Callable[[TopologyLists], nn.Module],
    *,
    input_size: InputSize | None = None,
) -> Removal:
    """Rebuild a network without some links, with the remaining weights and running statistics unchanged.

    For each unit that loses a source, the source's channels are removed from scale, shift and the first convolution.
    In a cross-layer convolution, the source's weights are removed, and its biases, which do not depend on it, are added
    to those of another source. If all weights of the links are 0, the new network computes the same function, in
    training too; this is verified against a copy of the network with these weights set to 0. Hooks, training modes and
    `requires_grad` are kept.

    Supported are DenseNets and SparseNets, Log-DenseNets (LogLog with nodes of equal width), FC-Log-DenseNets, and
    DelugeNets with cross-layer convolutions.

    Args:
        model: The trained network; it is not modified.
        links: The links to remove, for instance those of `skipweave.analysis.weak_links.weak_links`.
        build: Creates the same network with another topology. Called once, on the meta device.
        input_size: Channels, height and width of an image; the default is that of the model's `pretrained_cfg`.

    Raises:
        SkipweaveError: The network is not supported, its weights are tied or computed by hooks, a link does not exist
            or cannot be removed (a reader would have no source, a cross-layer convolution fewer than two, heads or
            feature maps would lose a node, or the convolution is channel-sparse), or the network created by `build`
            differs in more than its topology.

    Example::

        result = remove_links(model, links, lambda topology: create_model("sparsenet40_12", topology=topology))
    """
    removed = tuple(sorted(set(links)))
    check_supported(model)
    _check_kind(model)
    for name, reason in attached(model).items():
        raise SkipweaveError(f"links cannot be removed because of {name or 'the network itself'}: {reason}")
    by_reader: dict[tuple[int, int], set[int]] = defaultdict(set)
    for stage, node, source in removed:
        by_reader[stage, node].add(source)
    before = _topologies(model)
    if invalid := [link for link in removed if not 0 <= link.stage < len(before)]:
        raise SkipweaveError(f"stage is {invalid[0].stage}: expected 0 to {len(before) - 1}")
    after = [
        topology.without((link.reader, link.source) for link in removed if link.stage == stage)
        for stage, topology in enumerate(before)
    ]
    state = dict(model.state_dict())
    zeroed = copied(model)
    for reader, other in zip(readers(model), readers(zeroed), strict=True):
        if sources := by_reader.pop((reader.stage, reader.node), None):
            state |= _without(reader, sources)
            _set_to_zero(other, sources)
    if by_reader:
        stage, node = min(by_reader)
        raise SkipweaveError(f"node {node} of stage {stage} cannot lose links: it has no separate weights for them")
    lists = [[list(sources) for sources in topology.reads] for topology in after]
    topology: TopologyLists = lists[0] if isinstance(model.stages, SpanningStages) else lists
    with torch.device("meta"):
        smaller = build(topology)
    for name, tensor in smaller.state_dict().items():
        if name not in state or state[name].shape != tensor.shape:
            raise SkipweaveError(f"build creates a network with another {name}: expected only the topology to differ")
    smaller.load_state_dict({name: state[name].clone() for name in smaller.state_dict()}, assign=True)
    for name, part in smaller.named_modules():
        carry_over(model.get_submodule(name), part)
    reference = Reference(zeroed, trials_of(zeroed, input_size), values=True)
    reference.require(smaller, "the network without these links", "Check that build creates the same network.")
    unread = tuple(sorted(_unread(smaller) - _unread(model)))
    return Removal(smaller, topology, removed, unread)


def _check_kind(model: nn.Module) -> None:
    """Raise for networks without separate weights per node, or without an argument `topology`."""
    if "topology" not in signature(type(model)).parameters or not any(readers(model)):
        raise SkipweaveError(
            f"links cannot be removed from this {type(model).__name__}: expected a DenseNet or SparseNet, a "
            "Log-DenseNet or FC-Log-DenseNet, or a DelugeNet with cross-layer convolutions"
        )
    stages = model.stages
    if isinstance(stages, SpanningStages) and len(set(stages.widths[1:])) > 1:
        raise SkipweaveError("links cannot be removed from a network with wider hubs: expected hub_multiplier 1")


def _topologies(model: nn.Module) -> list[Topology]:
    """The topologies of the network's stages, or the one that spans them."""
    stages: Any = model.stages
    return [stages.plan.topology] if isinstance(stages, SpanningStages) else [stage.topology for stage in stages]


def _unread(model: nn.Module) -> set[tuple[int, int]]:
    """Stage and node of all nodes without readers, including heads."""
    stages: Any = model.stages
    read = [stages.plan.as_read] if isinstance(stages, SpanningStages) else _topologies(model)
    return {(stage, node) for stage, topology in enumerate(read) for node in topology.unread}


def _without(reader: Reader, removed: set[int]) -> dict[str, Tensor]:
    """Tensors of a reader without some sources, by their names in the network."""
    if reader.shared:
        raise SkipweaveError(f"node {reader.node} cannot lose links: heads read the same nodes")
    positions = range(len(reader.sources))
    kept = [at for at in positions if reader.sources[at] not in removed]
    if len(kept) < reader.min_sources:
        raise SkipweaveError(
            f"node {reader.node} of stage {reader.stage} cannot lose {len(removed)} links: it needs "
            f"{reader.min_sources} of its {len(reader.sources)}"
        )
    if reader.cross is None:
        return _without_channels(reader, kept)
    return _without_rows(*reader.cross, kept, [at for at in positions if at not in kept])


def _set_to_zero(reader: Reader, removed: set[int]) -> None:
    """Set the weights of sources to 0."""
    positions = [at for at, source in enumerate(reader.sources) if source in removed]
    with torch.no_grad():
        if reader.cross:
            reader.cross[1].weight[positions] = 0.0
        elif reader.concat:
            parts = reader.convolution[1].weight.split(reader.concat.widths, dim=1)
            for at in positions:
                parts[at].zero_()


def _without_channels(reader: Reader, kept: Sequence[int]) -> dict[str, Tensor]:
    assert reader.concat is not None
    parts = torch.arange(sum(reader.concat.widths)).split(reader.concat.widths)
    channels = torch.cat([parts[at] for at in kept])
    name, convolution = reader.convolution
    if isinstance(convolution, ChannelSparseConv2d):  # its outputs would be left with different numbers of inputs
        raise SkipweaveError(
            f"node {reader.node} of stage {reader.stage} cannot lose links: {name} is channel-sparse: remove links of "
            "the dense network and sparsify that, or sparsify with the first convolutions of units in keep"
        )
    return {
        f"{reader.name}.read.weight": reader.concat.weight.detach()[channels],
        f"{reader.name}.read.bias": reader.concat.bias.detach()[channels],
        f"{name}.weight": convolution.weight.detach()[:, channels],
    }


def _without_rows(name: str, cross: CrossConv, kept: list[int], removed: list[int]) -> dict[str, Tensor]:
    weight, bias = cross.weight.detach(), cross.bias.detach()
    rows = {f"{name}.weight": weight[kept]}
    if cross.normalized:
        first, *others = bias[kept]
        rows[f"{name}.bias"] = torch.stack([first + bias[removed].sum(0), *others])
    return rows
