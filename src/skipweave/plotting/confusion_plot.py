"""Confusion matrices as figures."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor

_MOST_NUMBERS, _MOST_NAMES = 20, 60  # classes up to which cells have counts, and axes names
_INCHES = 0.45  # per class


@rc_context({"text.parse_math": False})  # names of classes are text
def plot_confusion(confusion: Tensor, classes: Sequence[str], title: str = "") -> Figure:
    """Plot a confusion matrix: colors are fractions of the true class, numbers are counts.

    Args:
        confusion: Counts, (classes, classes): row = true class, column = predicted class.
        classes: Class names.
        title: Title.
    """
    counts = confusion.cpu().numpy().astype(np.float64)
    totals = counts.sum(1, keepdims=True)
    fractions = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    side = 2.5 + _INCHES * min(max(len(classes), 4), _MOST_NUMBERS)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= _MOST_NUMBERS:
        for (row, column), fraction in np.ndenumerate(fractions):
            color = "white" if fraction > 0.5 else "#333333"
            axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", fontsize=7, color=color)
    if len(classes) <= _MOST_NAMES:
        size = 8 if len(classes) <= _MOST_NUMBERS else 5
        axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=size)
        axes.set_yticks(range(len(classes)), classes, fontsize=size)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(title, fontsize=10)
    return figure
