"""Figures of topologies: connection matrix and arcs."""

from collections.abc import Sequence
from itertools import groupby
from math import isinf

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.path import Path as Curve
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from torch import nn

from skipweave.analysis.connection_matrix import ConnectionMatrix, connection_matrix
from skipweave.analysis.profile import topologies_of
from skipweave.topology import Topology
from skipweave_config.errors import SkipweaveError

_RASTER_FROM = 3000  # links from which vector graphics are slow to display
_NARROW, _NARROW_DPI = 4.86, 150  # inches; 350 units of an SVG file
_NARROW_VECTORS = 300  # links, so that files of many networks are small
_FEW_NODES = 26  # largest number of units for which each node has a tick
_MATRIX_PIXELS = 600  # of a large matrix; a link is at least one pixel wide
_CORNERS = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
_INK = "#333333"
# Viridis without its lightest fifth, which is invisible on white; color-blind safe.
_COLORS = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.0, 0.82, 256)), name="distances")


def plot_connections(network: nn.Module | Topology | Sequence[Topology], title: str = "") -> Figure:
    """Plot the topology of each stage: connection matrix on the left, arcs on the right.

    Equal neighboring stages share one row. In the matrix, rows are readers and columns are sources. The color is the
    distance from source to reader, on one scale for all stages.

    Args:
        network: Model with stages, a topology, or one topology per stage.
        title: Title.

    Raises:
        SkipweaveError: The model has no stages.
    """
    topologies = _as_topologies(network)
    stages = [(key, len(list(group))) for key, group in groupby(topologies)]
    heights = [_matrix_inches(topology) for topology, _ in stages]
    figure = Figure(figsize=(max(heights) + 7.2, sum(heights) + 0.9 * len(heights) + 0.6), layout="constrained")
    grid = figure.add_gridspec(
        len(stages), 2, width_ratios=[max(heights), 6.2], height_ratios=[height + 0.9 for height in heights]
    )
    norm = _distance_scale(topologies)
    axes, first = [], 1
    for row, (topology, times) in enumerate(stages):
        left, right = figure.add_subplot(grid[row, 0]), figure.add_subplot(grid[row, 1])
        matrix(topology, left, norm)
        arcs(topology, right, norm)
        stage = f"{_stage_name(first, times)}: " if len(topologies) > 1 else ""
        right.set_title(stage + _summary(topology), loc="left", fontsize=10)
        axes += [left, right]
        first += times
    _color_bar(figure, axes, norm)
    if title:
        figure.suptitle(title, fontsize=13, x=0.01, ha="left", color=_INK)
    return figure


def plot_arcs(network: nn.Module | Topology | Sequence[Topology]) -> Figure:
    """Plot the arcs of each stage in a narrow figure, whose text is readable on a phone.

    Equal neighboring stages share one row; colors are distances, as in `plot_connections`.

    Raises:
        SkipweaveError: The model has no stages.
    """
    topologies = _as_topologies(network)
    stages = [(key, len(list(group))) for key, group in groupby(topologies)]
    figure = Figure(figsize=(_NARROW, 1.7 * len(stages)), layout="constrained", dpi=_NARROW_DPI)
    norm, first = _distance_scale(topologies), 1
    for axes, (topology, times) in zip(figure.subplots(len(stages), squeeze=False)[:, 0], stages, strict=True):
        arcs(topology, axes, norm, most_vectors=_NARROW_VECTORS)
        stage = f"{_stage_name(first, times)}: " if len(topologies) > 1 else ""
        axes.set_title(f"{stage}{_summary(topology)}".replace(", longest", ",\nlongest"), loc="left", fontsize=11)
        axes.set_xlabel("")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, prune="upper"))
        axes.xaxis.set_tick_params(labelsize=11)
        first += times
    axes.set_xlabel("node (◆ stage input, □ output)", fontsize=11)
    return figure


def plot_connection_matrix(network: nn.Module | ConnectionMatrix, title: str = "") -> Figure:
    """Plot the connection matrix of a whole network, with lines between its stages.

    The color is the distance from source to reader, in nodes.

    Raises:
        SkipweaveError: The model has no stages.
    """
    whole = connection_matrix(network) if isinstance(network, nn.Module) else network
    side = float(np.clip(0.24 * (whole.topology.units + 1), 2.6, 7.0))
    figure = Figure(figsize=(side + 1.6, side + 0.9), layout="constrained")
    axes, norm = figure.subplots(), _distance_scale([whole.topology])
    matrix(whole.topology, axes, norm)
    for end in whole.ends[:-1]:
        axes.axhline(end + 0.5, color=_INK, linewidth=0.6, linestyle=":")
        axes.axvline(end + 0.5, color=_INK, linewidth=0.6, linestyle=":")
    axes.set(xlabel="source node", ylabel="reader")
    _color_bar(figure, [axes], norm)
    if title:
        figure.suptitle(title, fontsize=13, x=0.01, ha="left", color=_INK)
    return figure


def matrix(topology: Topology, axes: Axes, norm: Normalize | None = None) -> None:
    """Draw the links as a matrix: row = reader (1..n, then the reader of the stage), column = source (0..n)."""
    readers, sources = _links(topology)
    half = max(0.5, topology.units / _MATRIX_PIXELS)
    squares = np.stack([sources, readers], axis=1)[:, None, :] + half * _CORNERS
    gap = 0.6 if topology.units <= _FEW_NODES else 0.0
    norm = norm or _distance_scale([topology])
    axes.add_collection(
        PolyCollection(
            list(squares),
            facecolors=_COLORS(norm(readers - sources)),
            edgecolors="white" if gap else "none",
            linewidths=gap,
            antialiaseds=bool(gap),
            rasterized=len(readers) > _RASTER_FROM,
        )
    )
    last = topology.units + 1
    axes.fill([-0.5, -0.5, last - 0.5], [0.5, last + 0.5, last + 0.5], color="#f2f2f2", zorder=0, linewidth=0)
    axes.set(xlim=(-0.5, last - 0.5), ylim=(last + 0.5, 0.5), xlabel="source node", ylabel="reader", aspect="equal")
    axes.axhline(topology.units + 0.5, color=_INK, linewidth=0.8)
    _ticks(axes.xaxis, topology.units)
    _ticks(axes.yaxis, topology.units, with_output=True)
    _tidy(axes)


def arcs(topology: Topology, axes: Axes, norm: Normalize | None = None, most_vectors: int = _RASTER_FROM) -> None:
    """Draw the links as arcs from source to reader along the line of nodes, long ones in the background.

    Args:
        topology: The links.
        axes: Axes to draw into.
        norm: Scale of the colors.
        most_vectors: Links up to which arcs are vectors; more are rasterized.
    """
    readers, sources = _links(topology)
    norm = norm or _distance_scale([topology])
    order = np.argsort(sources - readers, kind="stable")
    readers, sources = readers[order], sources[order]
    distances = readers - sources
    last = topology.units + 1
    few = topology.units <= _FEW_NODES
    axes.add_collection(
        PathCollection(
            [_arc(source, reader) for source, reader in zip(sources, readers, strict=True)],
            facecolors="none",
            edgecolors=_COLORS(norm(distances)),
            linewidths=1.6 if few else float(np.clip(400 / len(readers), 0.25, 1.0)),
            alpha=0.9 if len(readers) < _RASTER_FROM else 0.35,
            rasterized=len(readers) > most_vectors,
        )
    )
    size = float(np.clip(260 / last, 1.5, 8))
    axes.plot(range(1, last), np.zeros(topology.units), "o", color=_INK, markersize=size, clip_on=False, zorder=3)
    axes.plot([0], [0], "D", color=_INK, markersize=size, clip_on=False, zorder=3)
    axes.plot([last], [0], "s", color="white", markeredgecolor=_INK, markersize=size, clip_on=False, zorder=3)
    axes.set(
        xlim=(-0.5, last + 0.5), ylim=(0, 1.05 * _height(int(distances.max()))), xlabel="node (◆ stage input, □ output)"
    )
    _ticks(axes.xaxis, topology.units, with_output=True)
    axes.yaxis.set_major_locator(NullLocator())
    _tidy(axes)
    axes.spines["left"].set_visible(False)


def _as_topologies(network: nn.Module | Topology | Sequence[Topology]) -> tuple[Topology, ...]:
    if isinstance(network, Topology):
        return (network,)
    topologies = topologies_of(network) if isinstance(network, nn.Module) else tuple(network)
    if not topologies:
        raise SkipweaveError("the network has no stages with a topology to plot")
    return topologies


def _distance_scale(topologies: Sequence[Topology]) -> Normalize:
    """Logarithmic color scale from distance 1 to the longest."""
    longest = max(int((readers - sources).max()) for readers, sources in map(_links, topologies))
    return LogNorm(1, max(2, longest))


def _links(topology: Topology) -> tuple[np.ndarray, np.ndarray]:
    """Readers and sources of all links, including those of the virtual node n + 1."""
    readers, sources = np.nonzero(topology.adjacency())
    return readers, sources


def _arc(source: int, reader: int) -> Curve:
    """Approximate half ellipse: one cubic curve, which keeps files of many links small."""
    lift = 4 / 3 * _height(reader - source)
    points = [(source, 0.0), (source, lift), (reader, lift), (reader, 0.0)]
    return Curve(points, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])


def _height(distance: int) -> float:
    """Height of an arc: the square root keeps short links visible next to long ones."""
    return float(np.sqrt(distance))


def _matrix_inches(topology: Topology) -> float:
    return float(np.clip(0.24 * (topology.units + 1), 1.8, 5.2))


def _stage_name(first: int, times: int) -> str:
    return f"stage {first}" if times == 1 else f"stages {first} to {first + times - 1}, each"


def _summary(topology: Topology) -> str:
    units = "1 unit" if topology.units == 1 else f"{topology.units} units"
    links = "1 link" if topology.links == 1 else f"{topology.links} links"
    return f"{topology.name}, {units}, {links}, {_paths(topology)}"


def _paths(topology: Topology) -> str:
    """The longest path, if there is one from each node to all later ones."""
    if not isinf(topology.max_distance):
        return f"longest path {topology.max_distance}"
    return "some nodes unread" if topology.unread else "some nodes parallel"


def _ticks(axis: matplotlib.axis.Axis, units: int, with_output: bool = False) -> None:
    """Number the nodes; the virtual one is "out"."""
    if units <= _FEW_NODES:
        places = list(range(units + 1))
    else:
        places = [int(place) for place in MaxNLocator(8, integer=True).tick_values(0, units) if 0 <= place <= units]
        # leave room for "out"
        places = [place for place in places if not with_output or place < 0.94 * units]
    axis.set_major_locator(FixedLocator([*places, *([units + 1] if with_output else [])]))
    axis.set_major_formatter(FuncFormatter(lambda place, _: "out" if place == units + 1 else f"{place:.0f}"))
    axis.set_tick_params(labelsize=8, length=2, color=_INK)


def _tidy(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _color_bar(figure: Figure, axes: Sequence[Axes], norm: Normalize) -> None:
    bar = figure.colorbar(
        ScalarMappable(norm, _COLORS), ax=list(axes), shrink=0.8, aspect=6 * figure.get_figheight(), pad=0.01
    )
    longest = int(norm.vmax or 2)
    bar.ax.yaxis.set_major_locator(FixedLocator([2**power for power in range(longest.bit_length())]))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda distance, _: f"{distance:.0f}"))
    bar.set_label("distance (reader − source)", fontsize=9)
    bar.outline.set_visible(False)
