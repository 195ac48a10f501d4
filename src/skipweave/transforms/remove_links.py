"""`remove_links`: a trained network with fewer links, which goes on with the weights that it has."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from skipweave.errors import SkipweaveError
from skipweave.layers import CrossConv, SpanningStages
from skipweave.topology import Link, Topology
from skipweave.tracing.copies import copied
from skipweave.tracing.example_inputs import InputSize
from skipweave.tracing.replicas import trials_of
from skipweave.tracing.unsupported_networks import check_network
from skipweave.transforms.attachments import attached, carry_over
from skipweave.transforms.node_readers import Reader, readers
from skipweave.transforms.verification import Reference

TopologyLists = list[list[int]] | list[list[list[int]]]


@dataclass(frozen=True)
class Removal:
    """A network with fewer links.

    Attributes:
        model: The network, a new one.
        topology: What it reads, as its argument `topology` takes it: a list of lists of nodes, or one a stage.
        removed: The links that are gone.
        unread: Stage (counted from 0) and node of the nodes that nobody reads any more. They are made all the same, to
            no effect: numbers of nodes and units stay what they were.
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
    """Rebuild a network without some links; what is left keeps its weights and running statistics exactly.

    Of each unit that loses a source, the source's channels are cut out of the gains, biases and the first convolution;
    of a convolution across nodes, the source's weights, while its biases, which do not depend on it, are added to
    another source's. Where all weights of a link are 0 the new network is the same function, in training too; so it is
    run beside the given network with such weights set to 0, and compared. Hooks, the mode of each module and what is
    trained stay as they were.

    Supported are DenseNets and SparseNets, Log-DenseNets V1 and LogLog whose nodes are of one width, and DelugeNets
    that filter across nodes.

    Args:
        model: The trained network; it is not changed.
        links: The links to remove, for instance those of `skipweave.analysis.weak_links.weak_links`.
        build: Makes a network like the given one, but of another topology. It is called once, on the meta device.
        input_size: Channels, height and width of an image; by default those of the model's `pretrained_cfg`.

    Raises:
        SkipweaveError: The network is of another kind, its weights are tied or computed by something else, there is no
            such link, or it has to stay: a reader would have nothing to read, a convolution across nodes less than two,
            or heads and feature maps, which read what some nodes read, would read less; or `build` makes a network that
            differs in more than its topology.

    Example::

        result = remove_links(model, links, lambda topology: create_model("sparsenet40_12", topology=topology))
    """
    gone = tuple(sorted(set(links)))
    check_network(model)
    _check_kind(model)
    for name, reason in attached(model).items():
        raise SkipweaveError(f"links cannot be removed while {name or 'the network itself'} is as it is: {reason}")
    by_reader: dict[tuple[int, int], set[int]] = defaultdict(set)
    for stage, node, source in gone:
        by_reader[stage, node].add(source)
    before = _topologies(model)
    if strangers := [link for link in gone if not 0 <= link.stage < len(before)]:
        raise SkipweaveError(f"there is no stage {strangers[0].stage}: expected 0 to {len(before) - 1}")
    after = [
        topology.without((link.reader, link.source) for link in gone if link.stage == stage)
        for stage, topology in enumerate(before)
    ]
    state = dict(model.state_dict())
    silent = copied(model)
    for reader, other in zip(readers(model), readers(silent), strict=True):
        if removed := by_reader.pop((reader.stage, reader.node), None):
            state |= _without(reader, removed)
            _silence(other, removed)
    if by_reader:
        stage, node = min(by_reader)
        raise SkipweaveError(f"node {node} of stage {stage} cannot lose links: it does not weigh them one by one")
    lists = [[list(sources) for sources in topology.reads] for topology in after]
    topology: TopologyLists = lists[0] if isinstance(model.stages, SpanningStages) else lists
    with torch.device("meta"):
        thinner = build(topology)
    for name, tensor in thinner.state_dict().items():
        if name not in state or state[name].shape != tensor.shape:
            raise SkipweaveError(f"build makes another network ({name} differs): expected one like the given network")
    thinner.load_state_dict({name: state[name].clone() for name in thinner.state_dict()}, assign=True)
    for name, part in thinner.named_modules():
        carry_over(model.get_submodule(name), part)
    reference = Reference(silent, trials_of(silent, input_size), values=True)
    reference.require(thinner, "the network without these links", "Give a build that makes the given network again.")
    unread = tuple(sorted(_unread(thinner) - _unread(model)))
    return Removal(thinner, topology, gone, unread)


def _check_kind(model: nn.Module) -> None:
    """Refuse networks that weigh no nodes one by one, or whose topology is not an argument."""
    if "topology" not in signature(type(model)).parameters or not any(readers(model)):
        raise SkipweaveError(
            f"links cannot be removed from this {type(model).__name__}: expected a DenseNet or SparseNet, a "
            "Log-DenseNet V1 or LogLog, or a DelugeNet that filters across nodes"
        )
    stages = model.stages
    if isinstance(stages, SpanningStages) and len(set(stages.widths[1:])) > 1:
        raise SkipweaveError("links cannot be removed from a network with wider hubs: a list of lists tells no widths")


def _topologies(model: nn.Module) -> list[Topology]:
    """What the network's argument `topology` stands for."""
    stages: Any = model.stages
    return [stages.plan.topology] if isinstance(stages, SpanningStages) else [stage.topology for stage in stages]


def _unread(model: nn.Module) -> set[tuple[int, int]]:
    """Stage and node of what nobody reads, heads included."""
    stages: Any = model.stages
    read = [stages.plan.as_read] if isinstance(stages, SpanningStages) else _topologies(model)
    return {(stage, node) for stage, topology in enumerate(read) for node in topology.unread}


def _without(reader: Reader, removed: set[int]) -> dict[str, Tensor]:
    """Tensors of a reader that reads less, by their names in the network."""
    if reader.followed:
        raise SkipweaveError(f"node {reader.node} cannot lose links: heads read what it reads")
    places = range(len(reader.sources))
    kept = [place for place in places if reader.sources[place] not in removed]
    if len(kept) < reader.fewest:
        raise SkipweaveError(f"node {reader.node} of stage {reader.stage} cannot lose so many links: two must stay")
    if reader.cross is None:
        return _without_channels(reader, kept)
    return _without_rows(*reader.cross, kept, [place for place in places if place not in kept])


def _silence(reader: Reader, removed: set[int]) -> None:
    """Set the weights of sources to 0."""
    places = [place for place, source in enumerate(reader.sources) if source in removed]
    with torch.no_grad():
        if reader.cross:
            reader.cross[1].weight[places] = 0.0
        elif reader.concat:
            parts = reader.convolution[1].weight.split(reader.concat.widths, dim=1)
            for place in places:
                parts[place].zero_()


def _without_channels(reader: Reader, kept: Sequence[int]) -> dict[str, Tensor]:
    assert reader.concat is not None
    parts = torch.arange(sum(reader.concat.widths)).split(reader.concat.widths)
    channels = torch.cat([parts[place] for place in kept])
    name, convolution = reader.convolution
    return {
        f"{reader.name}.read.gain": reader.concat.gain.detach()[channels],
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
