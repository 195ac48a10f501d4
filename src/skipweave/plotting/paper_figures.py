"""The four figures of the papers for a network: description, values and plot of each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, get_args

import numpy as np
from matplotlib.figure import Figure
from torch import nn

from skipweave.analysis.connection_matrix import connection_matrix
from skipweave.analysis.link_weights import cross_norms, group_maps, reuse_maps
from skipweave.plotting.connections import plot_connection_matrix
from skipweave.plotting.link_weight_plots import plot_cross_norms, plot_groups, plot_reuse
from skipweave_config.errors import SkipweaveError

Kind = Literal["connections", "reuse", "groups", "norms"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Value(NamedTuple):
    """Value of a link from `source` to `reader`; 1 in the connection matrix."""

    panel: str
    reader: int
    source: int
    value: float


@dataclass(frozen=True)
class Plot:
    """One of the four figures of a network.

    Attributes:
        kind: Kind of figure.
        description: Description, with the figure of the paper.
        values: Values of all links.
        draw: Function of a title that creates the figure.
    """

    kind: Kind
    description: str
    values: tuple[Value, ...]
    draw: Callable[[str], Figure]


def plot(network: nn.Module, kind: Kind) -> Plot:
    """Create one of the four figures.

    Args:
        network: Network on any device; for `"connections"` the meta device is enough.
        kind: `"connections"`: connection matrix of the whole network (`connection_matrix`); `"reuse"`: weights of
            concatenated nodes in each unit (`reuse_maps`); `"groups"`: weights between groups of SeqConv layers
            (`group_maps`); `"norms"`: weights of the nodes of a stage in the transitions and classifier of a DelugeNet
            (`cross_norms`).

    Raises:
        SkipweaveError: The network has no such figure, or the kind is unknown.
    """
    if kind not in KINDS:
        raise SkipweaveError(f"unknown kind of plot {kind!r}: expected one of {', '.join(KINDS)}")
    return {"connections": _connections, "reuse": _reuse, "groups": _groups, "norms": _norms}[kind](network)


def plots(network: nn.Module) -> tuple[tuple[Plot, ...], dict[Kind, str]]:
    """Create all figures that a network has, and return why it does not have the others."""
    made, reasons = [], {}
    for kind in KINDS:
        try:
            made.append(plot(network, kind))
        except SkipweaveError as reason:
            reasons[kind] = str(reason)
    return tuple(made), reasons


def _connections(network: nn.Module) -> Plot:
    whole = connection_matrix(network)
    values = _values("all", whole.values.astype(float), present=whole.values, first_reader=1, first_source=0)
    description = "connection matrix (Log-DenseNet, Fig. 1)"
    return Plot("connections", description, values, partial(plot_connection_matrix, whole))


def _reuse(network: nn.Module) -> Plot:
    maps = reuse_maps(network)
    values = [
        value
        for panel, of_source in zip(_stages(len(maps)), maps, strict=True)
        for value in _values(panel, of_source.T, ~np.isnan(of_source.T), first_reader=1, first_source=0)
    ]
    description = "mean |weight| of each node's channels, relative to the unit's largest (SparseNet, Fig. 3)"
    return Plot("reuse", description, tuple(values), partial(plot_reuse, maps))


def _groups(network: nn.Module) -> Plot:
    maps = group_maps(network)
    values = [
        value
        for layer in maps
        for value in _values(layer.layer, layer.values, ~np.isnan(layer.values), 1, 1 - layer.given)
    ]
    description = "mean |weight| of each group's channels, relative to the layer's largest (SeqConv, Fig. 5)"
    return Plot("groups", description, tuple(values), partial(plot_groups, maps))


def _norms(network: nn.Module) -> Plot:
    norms = cross_norms(network)
    values = [
        value
        for panel, row in zip(_stages(len(norms)), norms, strict=True)
        for value in _values(panel, row[None], ~np.isnan(row[None]), first_reader=len(row), first_source=0)
    ]
    description = "L2 norm of each node's weights, relative to the reader's largest (DelugeNets, Fig. 3)"
    return Plot("norms", description, tuple(values), partial(plot_cross_norms, norms))


def _stages(number: int) -> list[str]:
    return [f"stage {stage + 1}" for stage in range(number)] if number > 1 else ["all"]


def _values(
    panel: str, matrix: np.ndarray, present: np.ndarray, first_reader: int, first_source: int
) -> tuple[Value, ...]:
    """List the values of a matrix with readers as rows and sources as columns."""
    return tuple(
        Value(panel, int(row) + first_reader, int(column) + first_source, float(matrix[row, column]))
        for row, column in np.argwhere(present)
    )
