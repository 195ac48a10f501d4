"""Conversion of DenseNet state dicts with one batch norm per reader, as in the papers and in torchvision.

The layout is torchvision's (and timm's, and the SparseNet authors'): `features.denseblock1.denselayer1.norm1.weight`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skipweave.layers import GroupNorm2d, Stage
from skipweave_config.errors import SkipweaveError

_EPS = 1e-5
_VECTORS = ("weight", "bias", "running_mean", "running_var")


def from_densenet_layout(
    state: Mapping[str, Tensor], model: nn.Module, *, newest_first: bool = False
) -> dict[str, Tensor]:
    """Convert the state dict of a DenseNet or SparseNet that has one batch norm per reader.

    A node gets the running statistics of its first reader; differences to those of other readers are folded into the
    scale and shift of these. The function is the same in evaluation mode for any weights, and in training mode if all
    readers of a node have the same statistics, as they have in networks trained from scratch.

    Args:
        state: State dict in torchvision's layout; one in skipweave's layout is returned unchanged.
        model: The network to load.
        newest_first: Whether the newest node is concatenated first (SparseNet's code) or last (torchvision).

    Returns:
        A state dict for `model.load_state_dict`.

    Raises:
        SkipweaveError: A tensor is missing, its shape does not match the network's topology, or the network has other
            norms.
    """
    if "features.conv0.weight" not in state:
        return dict(state)
    require_batch_norm(model)
    # Old torchvision checkpoints have "norm.1" for "norm1".
    theirs = {re.sub(r"\.(norm|conv)\.(\d)\.", r".\1\2.", key): value for key, value in state.items()}
    ours = {"stem.conv.weight": theirs["features.conv0.weight"]}
    _copy_norm(theirs, ours, "features.norm0", "stem.norm")
    order = torch.arange(0)
    for index, stage in enumerate(model.stages):  # type: ignore[arg-type]
        for reader in readers_of(index, stage, last=index + 1 == len(model.stages)):  # type: ignore[arg-type]
            order = _order(stage.widths, reader.sources, newest_first)
            _fold(theirs, ours, reader, stage.widths, order)
    if "classifier.weight" in theirs:
        weight = theirs["classifier.weight"]
        ours["head.fc.weight"] = weight.unflatten(1, (len(order), -1))[:, order].flatten(1)
        ours["head.fc.bias"] = theirs["classifier.bias"]
    return ours


def require_batch_norm(model: nn.Module) -> None:
    """Raise unless the norms of a network have the statistics that weights of DenseNets come with.

    Raises:
        SkipweaveError: There are group or layer norms.
    """
    if other := [name for name, part in model.named_modules() if isinstance(part, GroupNorm2d)]:
        raise SkipweaveError(
            f"norm_layer of {type(model).__name__} is not 'batch' ({other[0]} is no batch norm): "
            "weights of DenseNets are converted for batch norms only"
        )


@dataclass(frozen=True)
class DenseReader:
    """A reader of a DenseNet, with the names of its parts in both layouts."""

    node: int
    sources: tuple[int, ...]
    their_norm: str
    our_read: str
    convs: Sequence[tuple[str, str]]  # the first one follows the read
    norms: Sequence[tuple[str, str]]
    our_stage: str

    def statistics(self, node: int) -> str:
        """Name of the norm with a node's running statistics in our layout."""
        return f"{self.our_stage}.entry.norm" if node == 0 else f"{self.our_stage}.units.{node - 1}.norm"


def readers_of(index: int, stage: Stage, last: bool) -> Iterator[DenseReader]:
    """All readers of a stage's nodes: its units, then the transition or the classifier."""
    graph, here = stage.topology, f"stages.{index}"
    for node in range(1, graph.units + 1):
        their, our = f"features.denseblock{index + 1}.denselayer{node}", f"{here}.units.{node - 1}"
        if hasattr(stage.units[node - 1].body, "conv2"):
            convs = [(f"{their}.conv{k}", f"{our}.body.conv{k}") for k in (1, 2)]
            norms = [(f"{their}.norm2", f"{our}.body.norm")]
        else:
            convs, norms = [(f"{their}.conv1", f"{our}.body.conv")], []
        yield DenseReader(node, graph.sources(node), f"{their}.norm1", f"{our}.read", convs, norms, here)
    if last:
        yield DenseReader(graph.units + 1, graph.output, "features.norm5", "norm", [], [], here)
    else:
        their, our = f"features.transition{index + 1}", f"stages.{index + 1}.entry.carry"
        convs = [(f"{their}.conv", f"{our}.conv")]
        yield DenseReader(graph.units + 1, graph.output, f"{their}.norm", f"{our}.read", convs, [], here)


def _order(widths: Sequence[int], sources: Sequence[int], newest_first: bool) -> Tensor:
    """For each channel of our concatenation (newest node first), its position in theirs."""
    starts, position = {}, 0
    for source in sources if newest_first else reversed(sources):
        starts[source] = position
        position += widths[source]
    return torch.cat([torch.arange(starts[source], starts[source] + widths[source]) for source in sources])


def _fold(
    theirs: Mapping[str, Tensor], ours: dict[str, Tensor], reader: DenseReader, widths: Sequence[int], order: Tensor
) -> None:
    """Convert a reader's batch norm into scale, shift and the statistics of nodes that no earlier reader has set."""
    found = {name: theirs.get(f"{reader.their_norm}.{name}") for name in _VECTORS}
    for name, vector in found.items():
        if vector is None or vector.shape != order.shape:
            found_shape = "is missing" if vector is None else f"has shape {tuple(vector.shape)}"
            raise SkipweaveError(
                f"{reader.their_norm}.{name} {found_shape}: expected ({len(order)},), the channels that node "
                f"{reader.node} of {reader.our_stage} reads; check that the weights are those of this network"
            )
    scale, shift, mean, var = (found[name][order] for name in _VECTORS)  # type: ignore[index]
    position = 0
    for source in reader.sources:
        part, key = slice(position, position + widths[source]), reader.statistics(source)
        position += widths[source]
        ours.setdefault(f"{key}.running_mean", mean[part])
        ours.setdefault(f"{key}.running_var", var[part])
        ours.setdefault(f"{key}.num_batches_tracked", _batches(theirs, reader.their_norm))
    node_mean = torch.cat([ours[f"{reader.statistics(s)}.running_mean"] for s in reader.sources])
    node_var = torch.cat([ours[f"{reader.statistics(s)}.running_var"] for s in reader.sources])
    ours[f"{reader.our_read}.weight"] = scale * ((node_var + _EPS) / (var + _EPS)).sqrt()
    ours[f"{reader.our_read}.bias"] = shift + scale * (node_mean - mean) / (var + _EPS).sqrt()
    for rank, (their, our) in enumerate(reader.convs):
        weight = theirs[f"{their}.weight"]
        ours[f"{our}.weight"] = weight[:, order] if rank == 0 else weight
    for their, our in reader.norms:
        _copy_norm(theirs, ours, their, our)


def _copy_norm(theirs: Mapping[str, Tensor], ours: dict[str, Tensor], their: str, our: str) -> None:
    if f"{their}.weight" in theirs:
        ours |= {f"{our}.{name}": theirs[f"{their}.{name}"] for name in _VECTORS}
        ours[f"{our}.num_batches_tracked"] = _batches(theirs, their)


def _batches(theirs: Mapping[str, Tensor], norm: str) -> Tensor:
    return theirs.get(f"{norm}.num_batches_tracked", torch.tensor(0))
