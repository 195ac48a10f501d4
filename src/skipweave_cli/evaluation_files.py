"""Files of an evaluation: metrics, tables of classes, confusion and predictions, and a picture of the confusion."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from skipweave.data.split_table import label_text
from skipweave.files.atomic_write import as_csv, write_text
from skipweave.inference.evaluation_report import EvaluationReport
from skipweave.plotting.confusion_plot import plot_confusion
from skipweave.plotting.figure_files import figure_paths, save_figure

_THRESHOLD = 0.5  # of probability, for each of several labels
_CELLS = ("true_negatives", "false_positives", "false_negatives", "true_positives")


def evaluation_files(folder: Path) -> tuple[Path, ...]:
    """The files that `write_evaluation` may write."""
    names = ("metrics.json", "per_class.csv", "confusion.csv", "predictions.csv")
    return (*(folder / name for name in names), *figure_paths(folder / "confusion"))


def write_evaluation(folder: Path, report: EvaluationReport, title: str) -> list[Path]:
    """Write the files into an existing directory; of masks no predictions, with several labels per image no picture.

    Args:
        folder: The directory.
        report: The report.
        title: Title of the picture.

    Returns:
        The files written.
    """
    metrics, per_class, confusion, predictions, *_ = evaluation_files(folder)
    written = [metrics, per_class, confusion]
    plain = {name: None if math.isnan(value) else value for name, value in report.overall.items()}
    write_text(metrics, json.dumps({"images": report.heads[-1].images, **plain}, indent=2) + "\n")
    columns = zip(*(values.tolist() for values in report.per_class.values()), strict=True)
    write_text(per_class, _table(["class", *report.per_class], report.classes, columns))
    if report.probabilities is not None:
        write_text(predictions, as_csv(_predictions(report)), errors="surrogateescape")
        written.append(predictions)
    if report.confusion.dim() == 3:
        write_text(confusion, _table(["class", *_CELLS], report.classes, report.confusion.flatten(1).tolist()))
        return written
    write_text(confusion, _table(["true", *report.classes], report.classes, report.confusion.tolist()))
    return [*written, *save_figure(plot_confusion(report.confusion, report.classes, title), folder / "confusion")]


def _predictions(report: EvaluationReport) -> Iterator[list[object]]:
    """The header and a row per image: true and predicted label, and the probability of each class."""
    assert report.labels is not None
    assert report.probabilities is not None
    several = report.labels.dim() > 1
    predicted = (report.probabilities >= _THRESHOLD).long() if several else report.probabilities.argmax(1)
    yield ["image", "label", "predicted", *report.classes]
    for image, *labels, chances in zip(
        report.images, report.labels.numpy(), predicted.numpy(), report.probabilities.tolist(), strict=True
    ):
        yield [image, *(label_text(report.classes, label) for label in labels), *chances]


def _table(header: Sequence[str], names: Sequence[str], rows: Iterable[Iterable[float]]) -> str:
    cells = ([name, *values] for name, values in zip(names, rows, strict=True))
    return as_csv([header, *([_cell(value) for value in row] for row in cells)])


def _cell(value: object) -> object:
    """Whole numbers without a point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
