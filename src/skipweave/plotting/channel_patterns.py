"""Figure of the input channels that the outputs of channel-sparse layers read."""

from math import ceil

from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import nn

from skipweave.layers import ChannelSparseConv2d
from skipweave_config.errors import SkipweaveError

_MOST = 12  # layers in a figure
_COLUMNS = 4
_COLORS = ListedColormap(["#e8e8e8", "#e0b000"], name="connections")


def plot_channel_patterns(network: nn.Module, title: str = "") -> Figure:
    """Plot which input channels each output channel of the sparse layers reads.

    As Fig. 1 of "The Power of Sparsity in Convolutional Neural Networks" (Changpinyo et al. 2017): columns are input
    channels, rows are output channels, and connections are yellow. Of more than 12 layers, the first 12 are drawn.

    Args:
        network: A network with channel-sparse layers.
        title: Title.

    Raises:
        SkipweaveError: The network has no such layer.
    """
    layers = [(name, part) for name, part in network.named_modules() if isinstance(part, ChannelSparseConv2d)]
    if not layers:
        raise SkipweaveError("the network has no channel-sparse layers to plot: make it sparse with sparsify")
    drawn = layers[:_MOST]
    columns = min(_COLUMNS, len(drawn))
    figure = Figure(figsize=(3 * columns, 3.2 * ceil(len(drawn) / columns) + 0.4), layout="constrained")
    grid = figure.subplots(ceil(len(drawn) / columns), columns, squeeze=False).ravel()
    for axes, (name, layer) in zip(grid, drawn, strict=False):
        pattern = layer.pattern
        axes.imshow(pattern.mask(), cmap=_COLORS, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        axes.set_title(f"{name}\nreads {pattern.fan_in} of {pattern.in_channels}", fontsize=8)
        axes.set_xlabel("input channel", fontsize=8)
        axes.set_ylabel("output channel", fontsize=8)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4, integer=True))
            axis.set_tick_params(labelsize=7)
    for axes in grid[len(drawn) :]:
        axes.set_axis_off()
    more = f" (the first {_MOST} of {len(layers)} sparse layers)" if len(layers) > _MOST else ""
    figure.suptitle(f"{title}{more}", fontsize=10)
    return figure
