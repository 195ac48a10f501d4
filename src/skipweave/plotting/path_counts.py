"""Figure of the paths of channels into the units of a network's layers."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from skipweave.analysis.channel_paths import LayerPaths


def plot_path_counts(layers: Sequence[LayerPaths], title: str = "") -> Figure:
    """Plot the mean number of paths into a unit of each layer, and how many units differ by their connections.

    After section 4 of "The Power of Sparsity in Convolutional Neural Networks" (Changpinyo et al. 2017): the number of
    paths is that of channels from the image; units of a layer differ if they read different sets of channels.

    Args:
        layers: Layers in the order in which they run, at least one.
        title: Title.
    """
    figure = Figure(figsize=(max(5.0, 0.28 * len(layers) + 2.5), 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    places = range(len(layers))
    above.plot(places, [layer.paths for layer in layers], color="#2f7ed8", marker="o", markersize=4)
    above.set_yscale("log")
    above.set_ylabel("paths per unit")
    below.bar(places, [100 * layer.distinct / layer.units for layer in layers], color="#e0b000")
    below.set_ylabel("different units, %")
    below.set_ylim(0, 105)
    below.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    below.set_xticks(places, [layer.name for layer in layers], rotation=90, fontsize=7)
    for axes in (above, below):
        axes.grid(axis="y", alpha=0.15)
    figure.suptitle(title, fontsize=10)
    return figure
