"""What the report shows of predictions: errors by class of all networks, confusion matrix and mistakes of each."""

from html import escape

import numpy as np
from numpy.typing import NDArray

from skipweave.study.mistakes import class_errors, clearest_mistakes, confusion_matrix
from skipweave.study.report.result_table import index_of, labeled
from skipweave.study.report.thumbnails import displayable, thumbnail
from skipweave.study.results import Results, Summary
from skipweave.training.tasks.predictions import Predictions
from skipweave.training.tasks.task import Data

_MOST_CLASSES = 15  # columns of errors by class
_MOST_CELLS = 20  # classes of a confusion matrix; of more, the most frequent confusions are listed
_MOST_PAIRS, _MOST_MISTAKES = 10, 8
_SHORT = 2  # characters of a name that is not turned
_SIDE = 64  # pixels of a thumbnail


def class_error_section(results: Results, data: Data) -> str:
    """Errors by class: a row per network, a column per class; nothing without predictions."""
    shown = [summary for summary in results.ranked if summary.predictions]
    if not shown:
        return ""
    errors = np.stack([class_errors(summary.predictions, len(data.classes)) for summary in shown])
    hardest = np.argsort(-np.nan_to_num(errors.mean(axis=0), nan=-1), kind="stable")[:_MOST_CLASSES]
    columns = np.sort(hardest)
    head = "".join(f'<th scope="col">{escape(data.classes[label])}</th>' for label in columns)
    scale = max(1e-9, float(np.nanmax(errors[:, columns])))
    rows = "".join(
        f'<tr data-model="{index_of(results, s.network.label)}"><th scope="row"><span class="name">'
        f"{labeled(results, s.network.label)}</span></th>{''.join(_heat(value, scale) for value in row[columns])}</tr>"
        for s, row in zip(shown, errors, strict=True)
    )
    few = f" The {_MOST_CLASSES} classes with the highest mean error of {len(data.classes)}." if _too_many(data) else ""
    note = f"Percent of the test images of a class that are predicted wrongly, mean over seeds.{few}"
    return (
        f'<h2>Errors by class</h2><p class="note">{note}</p><div class="scroll"><table class="heat">'
        f'<thead><tr><th scope="col">model</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _too_many(data: Data) -> bool:
    return len(data.classes) > _MOST_CLASSES


def _heat(value: float, scale: float) -> str:
    if np.isnan(value):
        return "<td>–</td>"
    return f'<td style="--v:{value / scale:.2f}" data-value="{value:g}">{value:.1f}</td>'


def confusions(summary: Summary, data: Data) -> str:
    """The confusion matrix of a network, or for many classes its most frequent confusions."""
    counts = confusion_matrix(summary.predictions, len(data.classes))
    totals = counts.sum(axis=1, keepdims=True)
    percents = 100 * np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    if len(data.classes) > _MOST_CELLS:
        return _frequent(percents, data)
    upright = ' class="upright"' if max(map(len, data.classes)) <= _SHORT else ""
    head = "".join(f'<th scope="col"><span{upright}>{escape(name)}</span></th>' for name in data.classes)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(map(_cell, row))}</tr>'
        for name, row in zip(data.classes, percents, strict=True)
    )
    return (
        '<h4>Confusion matrix</h4><p class="note">Rows: true class, columns: predicted class; percent of the true '
        f'class, all seeds.</p><div class="scroll"><table class="confusion"><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(percent: float) -> str:
    """An empty cell for none."""
    if not percent:
        return "<td></td>"
    text = f"{percent:.0f}" if percent >= 0.5 else "&lt;1"
    return f'<td style="--v:{percent / 100:.2f}">{text}</td>'


def _frequent(percents: NDArray[np.float64], data: Data) -> str:
    off = percents * (1 - np.eye(len(percents)))
    order = np.argsort(-off, axis=None, kind="stable")[:_MOST_PAIRS]
    rows = "".join(
        f"<tr><td>{escape(data.classes[true])}</td><td>{escape(data.classes[predicted])}</td>"
        f"<td>{off[true, predicted]:.1f} %</td></tr>"
        for true, predicted in (divmod(int(place), len(percents)) for place in order)
        if off[true, predicted]
    )
    head = "".join(f'<th scope="col">{title}</th>' for title in ("true class", "predicted as", "of the class"))
    return f"<h4>Most frequent confusions</h4><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def mistakes(summary: Summary, every: tuple[Predictions, ...], data: Data) -> str:
    """Thumbnails of the test images that most runs of a network predict alike and wrongly."""
    images = data.test
    found = clearest_mistakes(summary.predictions, every, _MOST_MISTAKES)
    if images is None or not found or len(images) != len(summary.predictions[0].labels):
        return ""
    figures = []
    for mistake in found:
        true, predicted = data.classes[mistake.label], data.classes[mistake.predicted]
        picture = thumbnail(displayable(images[mistake.image][0]), _SIDE, f"{true}, predicted as {predicted}")
        seeds = f"{mistake.runs} of {len(summary.predictions)} seeds" if len(summary.predictions) > 1 else ""
        figures.append(
            f"<figure>{picture}<figcaption><b>{escape(predicted)}</b><br>true: {escape(true)}"
            f"{f'<br>{seeds}' if seeds else ''}</figcaption></figure>"
        )
    return f'<h4>Clearest mistakes</h4><div class="mistakes">{"".join(figures)}</div>'
