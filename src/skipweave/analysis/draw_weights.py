"""Pictures of how strongly readers weigh the nodes that they read, as matplotlib figures (`draw.save` writes them)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import nn

from skipweave.analysis.weights import cross_norms, reuse_maps

_COLOURS = "viridis"
_BAR = "#31688e"  # of the same colours
_NOT_READ = "#ececec"


def cross_norm_bars(network: nn.Module | Sequence[np.ndarray], title: str = "") -> Figure:
    """Draw the relative L2 norms of the weights that read whole stages: a panel a stage, a bar a node.

    Args:
        network: A DelugeNet, or what `cross_norms` gives.
        title: Heading.

    Raises:
        SkipweaveError: The network has no such weights.
    """
    stages = cross_norms(network) if isinstance(network, nn.Module) else network
    figure = Figure(figsize=(3.2 * len(stages), 1.4 + 0.13 * max(map(len, stages))), layout="constrained")
    for number, (axes, norms) in enumerate(zip(figure.subplots(1, len(stages), squeeze=False)[0], stages, strict=True)):
        read = np.flatnonzero(~np.isnan(norms))
        axes.barh(read, norms[read], height=0.8, color=_BAR)
        axes.set(title=f"after stage {number + 1}", xlim=(0, 1), ylim=(-0.8, len(norms) - 0.2), xlabel="relative norm")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        if number == 0:
            axes.set_ylabel("node that is read")
    _head(figure, title)
    return figure


def reuse_heat_maps(network: nn.Module | Sequence[np.ndarray], title: str = "") -> Figure:
    """Draw how much each unit makes of each node that it reads: a panel a stage, a column a unit; grey is not read.

    Args:
        network: A network of concatenated nodes, or what `reuse_maps` gives.
        title: Heading.

    Raises:
        SkipweaveError: The network concatenates nothing.
    """
    maps = reuse_maps(network) if isinstance(network, nn.Module) else network
    figure = Figure(figsize=(3.6 * len(maps) + 0.8, 3.6), layout="constrained")
    panels = figure.subplots(1, len(maps), squeeze=False)[0]
    for number, (axes, values) in enumerate(zip(panels, maps, strict=True)):
        axes.set_facecolor(_NOT_READ)
        last = len(values) + 0.5
        axes.imshow(values, cmap=_COLOURS, vmin=0, vmax=1, extent=(0.5, last, last - 1, -0.5), interpolation="nearest")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        axes.set(title=f"stage {number + 1}" if len(maps) > 1 else "", xlabel="node that is made")
        if number == 0:
            axes.set_ylabel("node that is read")
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), _COLOURS), ax=list(panels), shrink=0.8, pad=0.01)
    bar.set_label("mean |weight|, relative to the unit's largest", fontsize=9)
    bar.outline.set_visible(False)
    _head(figure, title)
    return figure


def _head(figure: Figure, title: str) -> None:
    if title:
        figure.suptitle(title, fontsize=13, x=0.01, ha="left")
