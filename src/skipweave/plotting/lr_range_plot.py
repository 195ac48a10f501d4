"""Plot of a learning-rate range test."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from skipweave.plotting.figure_files import write_figure
from skipweave.plotting.log_axes import set_log_scale


def plot_lr_range(
    rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], suggestion: float | None, path: Path
) -> None:
    """Plot the loss against the learning rate.

    Args:
        rates: Learning rates.
        losses: Loss of each.
        smoothed: The same, smoothed.
        suggestion: Learning rate to mark, or None.
        path: SVG file to write.
    """
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    set_log_scale(axes.xaxis)
    axes.xaxis.set_major_locator(LogLocator())
    axes.plot(rates, losses, color="#2f7ed8", alpha=0.3, label="loss")
    axes.plot(rates, smoothed, color="#2f7ed8", label="smoothed loss")
    if suggestion:
        axes.axvline(suggestion, color="#888888", linestyle="--", label=f"suggested: {suggestion:.2g}")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.legend(frameon=False)
    axes.grid(alpha=0.15)
    write_figure(figure, path)
