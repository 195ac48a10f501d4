"""The report's tables of classes: a metric of each class for all networks, and the confusion matrix of each network."""

from collections.abc import Iterable
from html import escape

import numpy as np
from numpy.typing import NDArray

from skipweave.study.class_results import IOU
from skipweave.study.report.result_table import model_cell, model_row
from skipweave.study.results import Results
from skipweave.training.run.run_directory import Confusion

_MOST_CLASSES = 15  # columns of the table of all networks
_MOST_CELLS = 20  # classes of a confusion matrix; of more, the most frequent confusions are listed
_MOST_PAIRS = 10
_SHORT = 2  # characters of a name that is not turned


def class_section(results: Results) -> str:
    """The metric of each class: a row per network, a column per class; nothing where it is not known."""
    shown = [summary for summary in results.ranked if summary.class_values]
    if not shown:
        return ""
    values = np.array([summary.class_values for summary in shown], dtype=float)  # None becomes NaN
    defined = ~np.isnan(values)
    sums = np.where(defined, values, 0).sum(axis=0)
    means = np.divide(sums, defined.sum(axis=0), out=np.full_like(sums, 100), where=defined.any(axis=0))
    columns = np.sort(np.argsort(means, kind="stable")[:_MOST_CLASSES])
    head = "".join(f'<th scope="col">{escape(results.classes[label])}</th>' for label in columns)
    worst = max(1e-9, float(np.nanmax(100 - values[:, columns], initial=0)))
    rows = "".join(
        model_row(results, s, model_cell(results, s) + "".join(_heat(value, worst) for value in row[columns]))
        for s, row in zip(shown, values, strict=True)
    )
    table = f'<thead><tr><th scope="col">model</th>{head}</tr></thead><tbody>{rows}</tbody>{_counts(results, columns)}'
    few = f" The {_MOST_CLASSES} of {len(results.classes)} classes with the lowest means." if _too_many(results) else ""
    metric = results.class_metric.axis_label
    note = f"Test {metric} of each class, mean over seeds; the darker, the worse.{few}"
    return (
        f'<h2>Results by class</h2><p class="note">{escape(note)}</p>'
        f'<div class="scroll"><table class="heat">{table}</table></div>'
    )


def _too_many(results: Results) -> bool:
    return len(results.classes) > _MOST_CLASSES


def _heat(value: float, worst: float) -> str:
    return "<td>–</td>" if np.isnan(value) else f'<td style="--v:{(100 - value) / worst:.2f}">{value:.1f}</td>'


def _counts(results: Results, columns: Iterable[int]) -> str:
    """How often each class occurs in the test split, as the last row."""
    counts = results.class_counts.get("test")
    if counts is None:
        return ""
    unit = "pixels" if results.class_metric is IOU else "images"
    cells = "".join(f"<td>{counts[label]:,}</td>" for label in columns)
    return f'<tfoot><tr><th scope="row">test {unit}</th>{cells}</tr></tfoot>'


def confusions(confusion: Confusion, classes: tuple[str, ...]) -> str:
    """The confusion matrix of a network, or for many classes its most frequent confusions.

    Args:
        confusion: Counts over its seeds.
        classes: Names of the classes.
    """
    totals = confusion.sum(axis=1, keepdims=True)
    percents = 100 * np.divide(confusion, totals, out=np.zeros(confusion.shape), where=totals > 0)
    return _frequent(percents, classes) if len(classes) > _MOST_CELLS else _matrix(percents, classes)


def _matrix(percents: NDArray[np.float64], classes: tuple[str, ...]) -> str:
    upright = ' class="upright"' if max(map(len, classes)) <= _SHORT else ""
    head = "".join(f'<th scope="col"><span{upright}>{escape(name)}</span></th>' for name in classes)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(map(_cell, row))}</tr>'
        for name, row in zip(classes, percents, strict=True)
    )
    note = "Rows: true class, columns: predicted class; percent of the true class, all seeds."
    return (
        f'<h4>Confusion matrix</h4><p class="note">{note}</p><div class="scroll"><table class="confusion">'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(percent: float) -> str:
    """An empty cell for none."""
    if not percent:
        return "<td></td>"
    text = f"{percent:.0f}" if percent >= 0.5 else "&lt;1"
    return f'<td style="--v:{percent / 100:.2f}">{text}</td>'


def _frequent(percents: NDArray[np.float64], classes: tuple[str, ...]) -> str:
    off = percents * (1 - np.eye(len(percents)))
    order = np.argsort(-off, axis=None, kind="stable")[:_MOST_PAIRS]
    rows = "".join(
        f"<tr><td>{escape(classes[true])}</td><td>{escape(classes[predicted])}</td>"
        f"<td>{off[true, predicted]:.1f} %</td></tr>"
        for true, predicted in (divmod(int(place), len(percents)) for place in order)
        if off[true, predicted]
    )
    head = "".join(f'<th scope="col">{title}</th>' for title in ("true class", "predicted as", "of the class"))
    return f"<h4>Most frequent confusions</h4><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
