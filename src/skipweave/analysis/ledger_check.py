"""Comparison of the networks with the published figures of the ledger."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal

import timm
import torch
import torchvision
from torch import nn

from skipweave.analysis.operation_counts import CONVENTIONS, Counts, count
from skipweave.analysis.profile import parameters_by_type
from skipweave.ledger import Row
from skipweave.models import create_model
from skipweave.transforms import build_compressed
from skipweave_config.errors import SkipweaveError

MEASURED = frozenset({"error", "top5_error", "accuracy", "mean_iou", "iou"})
"""Quantities that require training."""

_TORCHVISION = "torchvision:"

Verdict = Literal["yes", "no", "open", "wrong"]


@dataclass(frozen=True)
class Check:
    """Row of the ledger and the figure of the network built for it.

    Attributes:
        row: The row.
        built: The quantity of the row, counted on the network; None if no network was built.
        reason: Why no network was built; empty otherwise.
    """

    row: Row
    built: int | None
    reason: str

    @property
    def verdict(self) -> Verdict:
        """Comparison with the printed figure.

        "yes": equal, rounded to the printed decimals. "no": different, for the reason in the row's note. "open":
        nothing was built, or nothing was printed. "wrong": different from the figure that the ledger expects of this
        network.
        """
        if self.built is None:
            return "open"
        if self.row.expected is not None and not self.row.is_expected(self.built):
            return "wrong"
        if not self.row.printed:
            return "open"
        return "yes" if self.row.is_printed(self.built) else "no"

    @property
    def difference(self) -> float | None:
        """Relative difference to the printed figure, e.g. 0.02 for 2 % more; None if a figure is missing."""
        if self.built is None or not self.row.printed:
            return None
        return float(self.row.in_units(self.built) / Decimal(self.row.printed)) - 1


def by_network(rows: Iterable[Row]) -> list[list[Row]]:
    """Group rows of the same network at the same input size, so that it is built once."""
    groups: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.model, json.dumps(row.overrides), row.input_size].append(row)
    return list(groups.values())


def check(rows: Iterable[Row]) -> Iterator[Check]:
    """Check rows of one network (a group of `by_network`), built on the meta device."""
    network: _Network | None = None
    for row in rows:
        if reason := why_not_built(row):
            yield Check(row, None, reason)
            continue
        try:
            network = network or _Network(row)
            yield Check(row, network.measure(row), "")
        except SkipweaveError as error:
            yield Check(row, None, f"cannot be built: {error}")


def why_not_built(row: Row) -> str:
    """Return why a row has no network to build; empty if it has one."""
    if row.quantity in MEASURED:
        return "requires training"
    if not row.model:
        return "not a network of skipweave"
    if not row.model.startswith(_TORCHVISION) and not timm.is_model(row.model):
        return "not registered"
    return ""


class _Network:
    """Network on the meta device, with lazily counted operations."""

    def __init__(self, row: Row) -> None:
        with torch.device("meta"):
            self.model = _build(row)
            self.image = torch.empty(1, *row.input_size)

    @cached_property
    def counts(self) -> Counts:
        """Operations including all exits, as in the published figures of networks with several heads."""
        anytime = getattr(self.model, "forward_anytime", None)
        return count(self.model, self.image, (lambda image: list(anytime(image))) if anytime else None)

    def measure(self, row: Row) -> int:
        if row.quantity == "macs":
            return self.counts.total_macs
        if row.quantity == "convolution_macs":
            return self.counts.convolution_macs
        if row.quantity == "operations":
            return CONVENTIONS[row.paper](self.counts)
        kinds = parameters_by_type(self.model)
        if row.quantity == "convolution_weights":
            return kinds["convolution"]
        statistics = kinds["normalization"] if row.quantity == "parameters_with_statistics" else 0
        return sum(kinds.values()) + statistics


def _build(row: Row) -> nn.Module:
    def make(**overrides: Any) -> nn.Module:
        if not row.model.startswith(_TORCHVISION):
            return create_model(row.model, **overrides)
        model: nn.Module = torchvision.models.get_model(row.model.removeprefix(_TORCHVISION), **overrides)
        model.pretrained_cfg = {"input_size": row.input_size}  # type: ignore[assignment]
        return model

    return build_compressed(make, row.overrides)
