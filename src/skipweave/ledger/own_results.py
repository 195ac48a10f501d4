"""Test errors of networks that were trained with this library, for comparison with published ones."""

import csv
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class OwnResult:
    """A trained network.

    Attributes:
        label: Its name on plots.
        model: Name of the registered model.
        overrides: What differs from the model's defaults.
        dataset: Key into `INPUT_SIZES`.
        error: Top-1 test error in percent, mean over the seeds.
        seeds: Number of seeds.
        epochs: Epochs of training.
        parameters: Learnable parameters.
        macs: Multiply-accumulates of one image.
        source: Recipe or page of the documentation, with what differs from it.
    """

    label: str
    model: str
    overrides: dict[str, Any]
    dataset: str
    error: float
    seeds: int
    epochs: int
    parameters: int
    macs: int
    source: str


@cache
def own_results() -> tuple[OwnResult, ...]:
    """All results, from `own_results.csv`."""
    text = resources.files(__package__).joinpath("own_results.csv").read_text(encoding="utf-8")
    return tuple(_result(line) for line in csv.DictReader(text.splitlines()))


def _result(line: dict[str, Any]) -> OwnResult:
    parsed: dict[str, Any] = {key: int(line[key]) for key in ("seeds", "epochs", "parameters", "macs")}
    parsed |= {"error": float(line["error"]), "overrides": json.loads(line["overrides"] or "{}")}
    return OwnResult(**(line | parsed))
