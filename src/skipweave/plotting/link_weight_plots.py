"""Figures of link weights: bars and heat maps."""

from collections.abc import Sequence
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import nn

from skipweave.analysis.link_weights import GroupMap, cross_norms, group_maps, reuse_maps

_COLORS = "viridis"
_BAR = "#31688e"  # a color of the same map
_NOT_READ = "#ececec"
_INK = "#333333"
_PANELS = 3  # SeqConv layers per row


def plot_cross_norms(network: nn.Module | Sequence[np.ndarray], title: str = "") -> Figure:
    """Plot the relative L2 norms of the weights that read whole stages: one panel per stage, one bar per node.

    Raises:
        SkipweaveError: The network has no such weights.
    """
    stages = cross_norms(network) if isinstance(network, nn.Module) else network
    figure = Figure(figsize=(3.2 * len(stages), 1.4 + 0.13 * max(map(len, stages))), layout="constrained")
    for number, (axes, norms) in enumerate(zip(figure.subplots(1, len(stages), squeeze=False)[0], stages, strict=True)):
        read = np.flatnonzero(~np.isnan(norms))
        axes.barh(read, norms[read], height=0.8, color=_BAR)
        axes.set(
            title=f"after stage {number + 1}", xlim=(0, 1), ylim=(-0.8, len(norms) - 0.2), xlabel="relative L2 norm"
        )
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        if number == 0:
            axes.set_ylabel("source node")
    _set_title(figure, title)
    return figure


def plot_reuse(network: nn.Module | Sequence[np.ndarray], title: str = "") -> Figure:
    """Plot the weight of each link: one panel per stage, one column per unit; links that do not exist are gray.

    Raises:
        SkipweaveError: The network has no concatenated nodes.
    """
    maps = reuse_maps(network) if isinstance(network, nn.Module) else network
    figure = Figure(figsize=(3.6 * len(maps) + 0.8, 3.6), layout="constrained")
    panels = figure.subplots(1, len(maps), squeeze=False)[0]
    for number, (axes, values) in enumerate(zip(panels, maps, strict=True)):
        last = len(values) + 0.5
        _heat(axes, values, (0.5, last, last - 1, -0.5))
        axes.set(title=f"stage {number + 1}" if len(maps) > 1 else "", xlabel="output node")
        if number == 0:
            axes.set_ylabel("source node")
    _color_bar(figure, panels, "mean |weight|, relative to the unit's largest")
    _set_title(figure, title)
    return figure


def plot_groups(network: nn.Module | Sequence[GroupMap], title: str = "") -> Figure:
    """Plot the weights between the groups of SeqConv layers: one panel per layer, one row per output group.

    The groups of a layer's input are numbered up to 0, the newest, and its own from 1; a line separates them. Links
    that do not exist are gray.

    Raises:
        SkipweaveError: The network has no SeqConv layers.
    """
    maps = group_maps(network) if isinstance(network, nn.Module) else network
    rows = ceil(len(maps) / _PANELS)
    figure = Figure(figsize=(3.6 * min(len(maps), _PANELS) + 0.8, 2.6 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, min(len(maps), _PANELS), squeeze=False)
    for axes, layer in zip(panels.flat, maps, strict=False):
        groups, sources = layer.values.shape
        _heat(axes, layer.values, (0.5 - layer.given, sources - layer.given + 0.5, groups + 0.5, 0.5))
        axes.axvline(0.5, color=_INK, linewidth=0.8)
        axes.set_title(layer.layer, fontsize=9)
    for axes in panels[:, 0]:
        axes.set_ylabel("output group")
    for axes in panels.flat[len(maps) :]:
        axes.set_axis_off()
    for axes in panels.flat[max(0, len(maps) - _PANELS) : len(maps)]:
        axes.set_xlabel("source group (own from 1)")
    _color_bar(figure, list(panels.flat), "mean |weight|, relative to the layer's largest")
    _set_title(figure, title)
    return figure


def _heat(axes: Axes, values: np.ndarray, extent: tuple[float, float, float, float]) -> None:
    """Draw a heat map of values from 0 to 1; the extent is left, right, bottom and top."""
    axes.set_facecolor(_NOT_READ)
    axes.imshow(values, cmap=_COLORS, vmin=0, vmax=1, extent=extent, interpolation="nearest")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))


def _color_bar(figure: Figure, panels: Sequence[Axes], label: str) -> None:
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), _COLORS), ax=list(panels), shrink=0.8, pad=0.01)
    bar.set_label(label, fontsize=9)
    bar.outline.set_visible(False)


def _set_title(figure: Figure, title: str) -> None:
    if title:
        figure.suptitle(title, fontsize=13, x=0.01, ha="left")
