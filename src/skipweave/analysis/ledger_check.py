"""Comparison of the networks with the published figures of the ledger."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import torch
import torchvision
from torch import nn

from skipweave.analysis.operation_counts import CONVENTIONS, Counts, count
from skipweave.analysis.profile import parameters_by_type
from skipweave.ledger import Comparison, Row, rows, stored
from skipweave.models import arguments_of, create_model
from skipweave.transforms import build_compressed
from skipweave_config.errors import SkipweaveError

_TORCHVISION = "torchvision:"


def by_network(rows: Iterable[Row]) -> list[list[Row]]:
    """Group rows of the same network at the same input size, so that it is built once."""
    groups: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.model, json.dumps(row.overrides), row.input_size].append(row)
    return list(groups.values())


def check(rows: Iterable[Row]) -> Iterator[Comparison]:
    """Compare rows of one network (a group of `by_network`) with the network, built on the meta device.

    A figure that is not counted on a network is compared as stored.
    """
    network: _Network | None = None
    for row in rows:
        if not row.is_countable:
            yield stored(row)
            continue
        try:
            network = network or _Network(row)
            yield Comparison(row, network.measure(row))
        except SkipweaveError as error:
            yield Comparison(row, None, f"cannot be built: {error}")


def published_error(name: str) -> str:
    """First published error of a registered model or one of torchvision's, with its own arguments, in percent.

    Empty if there is none.
    """
    arguments = {"num_classes": 10} | arguments_of(name)
    printed = (
        row.printed
        for row in rows()
        if (row.model, row.quantity) == (name, "error")
        and all(arguments.get(key) == value for key, value in row.overrides.items())
    )
    return next(printed, "")


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
