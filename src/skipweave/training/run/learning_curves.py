"""Learning curves of one run as pictures."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from skipweave.files.atomic_write import replacing
from skipweave.plotting.log_axes import set_log_scale
from skipweave.training.run.summary import EpochRow

_TRAIN, _VAL = "#2f7ed8", "#e07b00"


def draw_curves(rows: Sequence[EpochRow], title: str) -> Figure:
    """Error and loss against epochs, in training and on the validation split if there is one."""
    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    epochs = [row.epoch for row in rows]
    validated = [row for row in rows if row.val_error is not None]
    marker = "o" if len(rows) == 1 else ""
    above.plot(epochs, [row.train_error for row in rows], color=_TRAIN, marker=marker, label="training (as augmented)")
    below.plot(epochs, [row.train_loss for row in rows], color=_TRAIN, marker=marker)
    if validated:
        epochs = [row.epoch for row in validated]
        above.plot(epochs, [row.val_error or 0.0 for row in validated], color=_VAL, marker=marker, label="validation")
        below.plot(epochs, [row.val_loss or 0.0 for row in validated], color=_VAL, marker=marker)
    above.set_title(title)
    above.set_ylabel("top-1 error [%]")
    above.legend(frameon=False)
    below.set_ylabel("cross-entropy")
    if math.isfinite(below.dataLim.minposy):  # else all is zero: no logarithm
        set_log_scale(below.yaxis)
    below.set_xlabel("epoch")
    below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes in (above, below):
        axes.grid(alpha=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    above.set_ylim(bottom=0)
    return figure


def write_curves(path: Path, rows: Sequence[EpochRow], title: str) -> None:
    """Draw the curves into PATH.png and PATH.svg."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "skipweave", "text.parse_math": False}):
        figure = draw_curves(rows, title)
        for kind, extra in (("png", {"dpi": 150}), ("svg", {"metadata": {"Date": None}})):
            with replacing(path.with_suffix(f".{kind}")) as temporary:
                figure.savefig(temporary, format=kind, **extra)
