"""The papers' four pictures of a network under one roof: what each shows, its numbers one by one, and the drawing."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, get_args

import numpy as np
from matplotlib.figure import Figure
from torch import nn

from skipweave.analysis.connection_matrix import connection_matrix
from skipweave.analysis.link_weights import cross_norms, group_maps, reuse_maps
from skipweave.errors import SkipweaveError
from skipweave.plotting.connections import connection_matrix_figure
from skipweave.plotting.link_weight_plots import cross_norm_bars, group_heat_maps, reuse_heat_maps

Kind = Literal["connections", "reuse", "groups", "norms"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Value(NamedTuple):
    """One number of a picture: what `reader` makes of `source`; 1 for a link in the connection matrix."""

    panel: str
    reader: int
    source: int
    value: float


@dataclass(frozen=True)
class Look:
    """One of the four pictures of a network.

    Attributes:
        kind: Which.
        about: What it shows, and after which paper.
        values: Its numbers, links that do not exist left out.
        draw: Makes the figure, given a heading.
    """

    kind: Kind
    about: str
    values: tuple[Value, ...]
    draw: Callable[[str], Figure]


def look(network: nn.Module, kind: Kind) -> Look:
    """Take one of the four pictures.

    Args:
        network: On any device; for `"connections"` the meta device will do.
        kind: `"connections"`, who reads whom in the whole network (`connection_matrix`); `"reuse"`, what units make of
            concatenated nodes (`reuse_maps`); `"groups"`, what groups of SeqConv layers make of one another
            (`group_maps`); `"norms"`, what transitions and classifier of a DelugeNet make of a stage's nodes
            (`cross_norms`).

    Raises:
        SkipweaveError: The network has nothing for such a picture, or there is no such kind.
    """
    if kind not in KINDS:
        raise SkipweaveError(f"unknown kind of picture {kind!r}: expected one of {', '.join(KINDS)}")
    return {"connections": _connections, "reuse": _reuse, "groups": _groups, "norms": _norms}[kind](network)


def looks(network: nn.Module) -> tuple[tuple[Look, ...], dict[Kind, str]]:
    """Take all pictures that a network has something for, and say why not the others."""
    taken, reasons = [], {}
    for kind in KINDS:
        try:
            taken.append(look(network, kind))
        except SkipweaveError as reason:
            reasons[kind] = str(reason)
    return tuple(taken), reasons


def _connections(network: nn.Module) -> Look:
    whole = connection_matrix(network)
    values = _values("all", whole.values.astype(float), present=whole.values, first_reader=1, first_source=0)
    about = "who reads whom (Log-DenseNet, Fig. 1)"
    return Look("connections", about, values, partial(connection_matrix_figure, whole))


def _reuse(network: nn.Module) -> Look:
    maps = reuse_maps(network)
    values = [
        value
        for panel, of_source in zip(_stages(len(maps)), maps, strict=True)
        for value in _values(panel, of_source.T, ~np.isnan(of_source.T), first_reader=1, first_source=0)
    ]
    about = "mean |weight| of each node's channels, relative to the unit's largest (SparseNet, Fig. 3)"
    return Look("reuse", about, tuple(values), partial(reuse_heat_maps, maps))


def _groups(network: nn.Module) -> Look:
    maps = group_maps(network)
    values = [
        value
        for layer in maps
        for value in _values(layer.layer, layer.values, ~np.isnan(layer.values), 1, 1 - layer.given)
    ]
    about = "mean |weight| of each group's channels, relative to the layer's largest (SeqConv, Fig. 5)"
    return Look("groups", about, tuple(values), partial(group_heat_maps, maps))


def _norms(network: nn.Module) -> Look:
    norms = cross_norms(network)
    values = [
        value
        for panel, row in zip(_stages(len(norms)), norms, strict=True)
        for value in _values(panel, row[None], ~np.isnan(row[None]), first_reader=len(row), first_source=0)
    ]
    about = "L2 norm of each node's weights, relative to the reader's largest (DelugeNets, Fig. 3)"
    return Look("norms", about, tuple(values), partial(cross_norm_bars, norms))


def _stages(number: int) -> list[str]:
    return [f"stage {stage + 1}" for stage in range(number)] if number > 1 else ["all"]


def _values(
    panel: str, matrix: np.ndarray, present: np.ndarray, first_reader: int, first_source: int
) -> tuple[Value, ...]:
    """List a matrix whose rows are readers and whose columns are sources."""
    return tuple(
        Value(panel, int(row) + first_reader, int(column) + first_source, float(matrix[row, column]))
        for row, column in np.argwhere(present)
    )
