"""Weights of links: the values of three figures of the papers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from torch import Tensor, nn

from skipweave.layers import ChannelSparseConv2d, CrossConv, GroupUnit, SeqConv2d
from skipweave.ops import dense_weight
from skipweave.transforms.node_readers import Reader, readers
from skipweave_config.errors import SkipweaveError


@dataclass(frozen=True)
class GroupMap:
    """Weights between the groups of a SeqConv layer.

    Attributes:
        layer: Name of the layer in the network.
        given: Number of input nodes: the groups of the layer's input, or 1 for a dense layer, which reads its input as
            a whole.
        values: (groups, given + groups - 1), from 0 to 1: row i is output group i + 1, column s is source group
            s + 1 - given: the layer's own groups from 1 on, those of its input up to 0; NaN where it is not read.
    """

    layer: str
    given: int
    values: np.ndarray


def cross_norms(model: nn.Module) -> tuple[np.ndarray, ...]:
    """Compute the weights of the cross-layer convolutions that read whole stages: transitions and classifier.

    The value of a node is the L2 norm of its weights over the channels, divided by the largest such norm of the reader
    (DelugeNets, Fig. 3). With `cross="normalized"` the weights apply to normalized nodes and are comparable.

    Returns:
        One array per stage, (n + 1,): the values of the nodes 0..n, NaN where a node is not read.

    Raises:
        SkipweaveError: No such convolution reads a stage of the network.
    """
    found = []
    for reader in readers(model):
        if not isinstance(reader.module, CrossConv):
            continue
        values = np.full(reader.node, np.nan)
        values[list(reader.sources)] = np.linalg.norm(numbers(reader.module.weight), axis=1)
        found.append(relative(values))
    if not found:
        raise SkipweaveError("no cross-layer convolution reads a stage of this network: expected a DelugeNet")
    return tuple(found)


def reuse_maps(model: nn.Module) -> tuple[np.ndarray, ...]:
    """Compute the weights of the convolutions that read concatenated nodes (SparseNet, Fig. 3).

    The value of a node is the mean absolute weight of its channels in the first convolution of the unit that reads it,
    divided by the largest such mean of that unit. Links that a channel-sparse convolution does not have count as zeros.

    Returns:
        One array per stage, (n, n), or a single one where one topology spans the stages: row s is source node 0..n-1,
        column i is output node i + 1; NaN where a node is not read.

    Raises:
        SkipweaveError: The network has no units that read concatenated nodes, or these do not begin with a convolution.
    """
    stages = [list(group) for _, group in groupby(readers(model), lambda reader: reader.stage)]
    maps = [_reuse(units) for units in stages if all(reader.concat for reader in units)]
    if not maps:
        raise SkipweaveError("no unit of this network reads concatenated nodes: expected a DenseNet or SparseNet")
    return tuple(maps)


def group_maps(model: nn.Module) -> tuple[GroupMap, ...]:
    """Compute the weights between groups of SeqConv layers (Sequentially Aggregated Convolutional Networks, Fig. 5).

    The value of a pair is the mean absolute weight of the source group's channels in the convolution of the output
    group (the 1x1 convolution of the "-B" form), divided by the largest such mean of the layer. Links that a
    channel-sparse convolution does not have count as zeros.

    Returns:
        One map per layer, in order.

    Raises:
        SkipweaveError: The network has no SeqConv layers.
    """
    layers = [(name, part) for name, part in model.named_modules() if isinstance(part, SeqConv2d)]
    if not layers:
        raise SkipweaveError("this network has no SeqConv2d layer: expected a SeqResNet")
    return tuple(_groups(name, layer) for name, layer in layers)


def mean_by_source(
    convolution: nn.Conv2d | ChannelSparseConv2d, widths: Sequence[int], norm_weight: Tensor | None = None
) -> np.ndarray:
    """Mean absolute weight of the channels of each source.

    Args:
        convolution: From C_in channels; in a channel-sparse one, weights of links that do not exist are zero.
        widths: Channels of each source; their sum is C_in.
        norm_weight: Weight of the norm before the convolution, (C_in,); None leaves it out.

    Returns:
        (sources,), in float64.
    """
    weight = convolution.weight
    if isinstance(convolution, ChannelSparseConv2d):
        weight = dense_weight(weight, convolution.index, convolution.in_channels)
    means = np.abs(numbers(weight)).mean(axis=(0, 2, 3))
    if norm_weight is not None:
        means = means * np.abs(numbers(norm_weight))
    return np.array([part.mean() for part in np.split(means, np.cumsum(widths)[:-1])])


def numbers(weight: Tensor) -> np.ndarray:
    """Return a tensor's values in float64."""
    return weight.detach().double().cpu().numpy()


def relative(values: np.ndarray) -> np.ndarray:
    """Divide by the largest value, unless all are zero; NaN is kept."""
    return values / (np.nanmax(values) or 1.0)


def _reuse(units: Sequence[Reader]) -> np.ndarray:
    values = np.full((len(units), len(units)), np.nan)
    for column, unit in enumerate(units):
        assert unit.concat is not None
        _, convolution = unit.convolution
        means = mean_by_source(convolution, unit.concat.widths)
        values[list(unit.sources), column] = relative(means)
    return values


def _groups(name: str, layer: SeqConv2d) -> GroupMap:
    given = layer.topology.units + 1 - len(layer.groups)
    values = np.full((len(layer.groups), layer.topology.units), np.nan)
    for made, unit in enumerate(layer.groups):
        assert isinstance(unit, GroupUnit)
        oldest_first = layer.topology.sources(given + made)[::-1]
        convolution = unit.make.conv if isinstance(unit.reduce, nn.Identity) else unit.reduce.conv
        values[made, list(oldest_first)] = mean_by_source(convolution, _widths(layer, oldest_first))
    return GroupMap(name, given, relative(values))


def _widths(layer: SeqConv2d, nodes: Iterable[int]) -> list[int]:
    """Channels of nodes: of the whole input for a dense layer, of a group otherwise."""
    return [layer.in_channels if node == 0 and not layer.windowed else layer.group_size for node in nodes]
