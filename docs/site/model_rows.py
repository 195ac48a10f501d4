"""Rows of the table of models: size, cost, published and own errors, and time of every registered model."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import NamedTuple

from skipweave.ledger import PAPERS, rows
from skipweave.ledger.own_results import own_results
from skipweave_config.model_table import ModelEntry, model_table

#: Columns of published errors: dataset and quantity of the ledger.
PUBLISHED = {
    "CIFAR-10": ("cifar10", "error"),
    "CIFAR-100": ("cifar100", "error"),
    "ImageNet": ("imagenet", "error"),
    "CamVid": ("camvid", "mean_iou"),
}


class Figure(NamedTuple):
    """A figure and where it is from."""

    text: str
    source: str


@dataclass(frozen=True)
class ModelRow:
    """A registered model.

    Attributes:
        entry: Name, family, input size, parameters and multiply-accumulates.
        published: By column of `PUBLISHED`, the figures that papers print, each once.
        own: Test errors of networks trained with this library, with the dataset.
        time: Processor time of one image in ms, if it was measured.
    """

    entry: ModelEntry
    published: dict[str, tuple[Figure, ...]]
    own: tuple[Figure, ...]
    time: float | None


def model_rows() -> list[ModelRow]:
    """All registered models, by family and in the order of their variants."""
    times = _times()
    return [
        ModelRow(
            entry,
            {column: _published(entry.name, *key) for column, key in PUBLISHED.items()},
            tuple(
                Figure(f"{result.error:.2f}", f"{result.dataset}, {result.epochs} epochs: {result.source}")
                for result in own_results()
                if result.model == entry.name and not result.overrides
            ),
            times.get(entry.name),
        )
        for entry in sorted(model_table().values(), key=lambda entry: entry.family)
    ]


def _published(model: str, dataset: str, quantity: str) -> tuple[Figure, ...]:
    """Figures of the model itself: without overrides, but for the number of classes."""
    sources: dict[str, list[str]] = {}
    for row in rows():
        is_model = row.model == model and not row.overrides.keys() - {"num_classes"}
        if is_model and (row.dataset, row.quantity) == (dataset, quantity) and row.printed:
            sources.setdefault(row.printed, []).append(f"{PAPERS[row.paper]}, {row.table}: {row.row}")
    return tuple(Figure(printed, "; ".join(found)) for printed, found in sorted(sources.items()))


@cache
def _times() -> dict[str, float]:
    text = resources.files("skipweave.ledger").joinpath("measured_times.csv").read_text(encoding="utf-8")
    return {line["model"]: float(line["cpu_ms"]) for line in csv.DictReader(text.splitlines())}
