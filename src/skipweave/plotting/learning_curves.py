"""Learning curves of one run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from skipweave.plotting.figure_files import save_figure
from skipweave.plotting.log_axes import use_log_scale_if_wide

Row = Mapping[str, float | None]
_SPLITS = (("train", "training (augmented)", "#2f7ed8"), ("val", "validation", "#e07b00"))


def draw_curves(rows: Sequence[Row], metric: str, axis_label: str, title: str) -> Figure:
    """Draw a metric and the loss against epochs, in training and on the validation split if there is one.

    Args:
        rows: One per epoch, with the columns of metrics.csv: `epoch`, `train_loss`, `val_loss`, `train_METRIC`,
            `val_METRIC`.
        metric: Name of the metric.
        axis_label: Label of its axis.
        title: Title of the figure.
    """
    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    marker = "o" if len(rows) == 1 else ""
    for split, label, color in _SPLITS:
        for axes, column in ((above, f"{split}_{metric}"), (below, f"{split}_loss")):
            points = [(row["epoch"], value) for row in rows if (value := row.get(column)) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), color=color, marker=marker, label=label)
    above.set_title(title)
    above.set_ylabel(axis_label)
    above.legend(frameon=False)
    below.set_ylabel("cross-entropy")
    use_log_scale_if_wide(below.yaxis)
    below.set_xlabel("epoch")
    below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes in (above, below):
        axes.grid(alpha=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    above.set_ylim(bottom=0)
    return figure


def write_curves(path: Path, rows: Sequence[Row], metric: str, axis_label: str, title: str) -> None:
    """Draw the curves into PATH.png and PATH.svg; the other arguments are those of `draw_curves`."""
    with rc_context({"text.parse_math": False}):
        figure = draw_curves(rows, metric, axis_label, title)
        save_figure(figure, path)
