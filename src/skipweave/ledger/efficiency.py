"""Published errors against costs: the points of the papers' efficiency figures, as far as tables print their values."""

import csv
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Literal, NamedTuple, get_args

from skipweave.ledger.own_results import own_results
from skipweave.ledger.table import Row, rows

Cost = Literal["parameters", "operations", "printed_ms", "measured_ms"]
COSTS: tuple[Cost, ...] = get_args(Cost)

_QUANTITIES: dict[str, Cost] = {
    "parameters": "parameters",
    "convolution_weights": "parameters",
    "operations": "operations",
    "convolution_macs": "operations",
    "time": "printed_ms",
}
_OPERATIONS_PER_MAC = {"sparsenet": 2, "log_densenet": 2, "delugenet": 2, "seqconv": 1, "channel_sparsity": 1}
_SIZE = re.compile(r"(?:[- ]\.?\d[\d.]*)+|(?<=-B)\d+")
_LONGER = ", 100 epochs"


class TradeOff(NamedTuple):
    """Errors of a paper on a dataset, against the costs of the networks.

    Attributes:
        name: Name of the plot.
        title: Paper and figure.
        paper: Key into `PAPERS`.
        tables: Tables that print the errors.
        dataset: Key into `INPUT_SIZES`.
        by_growth: Whether networks of another growth are another family.
    """

    name: str
    title: str
    paper: str
    tables: tuple[str, ...]
    dataset: str
    by_growth: bool = False


class Point(NamedTuple):
    """A network.

    Attributes:
        series: Its family.
        label: What distinguishes it in its family.
        error: Top-1 error in percent.
        costs: Parameters, operations (as the paper counts them), the printed inference time and ours, as far as known.
    """

    series: str
    label: str
    error: float
    costs: dict[Cost, float]


TRADE_OFFS = (
    TradeOff("sparsenet_cifar10", "SparseNet, Table 2, CIFAR-10+", "sparsenet", ("Table 2",), "cifar10"),
    TradeOff("sparsenet_cifar100", "SparseNet, Fig. 2 (left), CIFAR-100+", "sparsenet", ("Table 2",), "cifar100"),
    TradeOff(
        "sparsenet_depth", "SparseNet, Table 3, CIFAR-100+", "sparsenet", ("Table 3",), "cifar100", by_growth=True
    ),
    TradeOff(
        "sparsenet_imagenet", "SparseNet, Fig. 2 (right) and Table 4, ImageNet", "sparsenet", ("Table 4",), "imagenet"
    ),
    TradeOff(
        "log_densenet_cifar10",
        "Log-DenseNet, as Figs. 6a and 7a, CIFAR-10",
        "log_densenet",
        ("Table 1", "Table 2"),
        "cifar10",
    ),
    TradeOff(
        "log_densenet_cifar100",
        "Log-DenseNet, as Figs. 3a and 7b, CIFAR-100",
        "log_densenet",
        ("Table 1", "Table 2"),
        "cifar100",
    ),
    TradeOff("log_densenet_svhn", "Log-DenseNet, as Figs. 6b and 7c, SVHN", "log_densenet", ("Table 1",), "svhn"),
    TradeOff("seqconv_cifar10", "SeqConv, Table 3, CIFAR-10+", "seqconv", ("Table 3",), "cifar10"),
    TradeOff("seqconv_cifar100", "SeqConv, Table 3, CIFAR-100+", "seqconv", ("Table 3",), "cifar100"),
    TradeOff("seqconv_imagenet", "SeqConv, Table 4, ImageNet", "seqconv", ("Table 4",), "imagenet"),
    TradeOff("delugenet_cifar10", "DelugeNets, Table 1, CIFAR-10", "delugenet", ("Table 1",), "cifar10"),
    TradeOff("delugenet_cifar100", "DelugeNets, Table 1, CIFAR-100", "delugenet", ("Table 1",), "cifar100"),
    TradeOff("delugenet_imagenet", "DelugeNets, Table 3, ImageNet", "delugenet", ("Table 3",), "imagenet"),
    TradeOff(
        "channel_sparsity_imagenet",
        "The Power of Sparsity, Fig. 4, Inception-V3 on ImageNet",
        "channel_sparsity",
        ("Table 1",),
        "imagenet299",
    ),
)
"""The efficiency figures and tables of the papers, in their order."""


def published(plot: TradeOff) -> tuple[Point, ...]:
    """Networks of a plot whose error and at least one cost are known, in the order of the tables."""
    found = (_point(row, plot) for row in rows(plot.paper) if row.table in plot.tables and row.dataset == plot.dataset)
    return tuple(point for point in found if point and point.costs)


def own(plot: TradeOff) -> tuple[Point, ...]:
    """Networks trained with this library on the plot's dataset, from `own_results.csv`.

    Their operations are multiply-accumulates times the paper's number of operations in each; those of norms and
    pools, a few percent at most, are left out.
    """
    factor = _OPERATIONS_PER_MAC[plot.paper]
    return tuple(
        Point(
            f"skipweave, {result.epochs} epochs",
            result.label,
            result.error,
            {"parameters": result.parameters, "operations": factor * result.macs},
        )
        for result in own_results()
        if result.dataset == plot.dataset
    )


def _point(row: Row, plot: TradeOff) -> Point | None:
    if row.quantity not in ("error", "accuracy"):
        return None
    error = Decimal(row.printed) if row.quantity == "error" else 100 - Decimal(row.printed)
    series, label = _series_and_label(row)
    if len(plot.tables) > 1:
        series += f" ({row.table})"
    if plot.by_growth:
        label, comma, growth = label.partition(", ")
        series += comma + growth
    return Point(series, label, float(error), dict(_costs(row)))


def _series_and_label(row: Row) -> tuple[str, str]:
    """Split the name of a network into family and rest: ("DenseNet", "k=12") or ("SparseNet", "201-48")."""
    head, _, rest = row.row.removesuffix(_LONGER).partition(", ")
    size = _SIZE.search(head)
    series, label = (head.replace(size[0], "", 1), size[0].strip("- ")) if size else (head, rest)
    return series + (_LONGER if row.row.endswith(_LONGER) else ""), label


def _costs(row: Row) -> Iterator[tuple[Cost, float]]:
    """Costs that the row's table prints for the network, or that we count for it."""
    known = _counts(row.paper)
    for cost in COSTS:
        value = known.get((row.table, row.row, cost)) or known.get(("not printed", row.row, cost))
        if value:
            yield cost, value
    if not row.overrides and (ms := _measured_ms().get(row.model)):
        yield "measured_ms", ms


@cache
def _counts(paper: str) -> dict[tuple[str, str, Cost], float]:
    """Costs by table and row: the printed figure, else the first of ours."""
    found: dict[tuple[str, str, Cost], float] = {}
    for row in rows(paper):
        value = row.ours if row.theirs is None else row.theirs
        if value is not None and row.quantity in _QUANTITIES:
            found.setdefault((row.table, row.row, _QUANTITIES[row.quantity]), float(value))
    return found


@cache
def _measured_ms() -> dict[str, float]:
    """Our inference times by model."""
    text = resources.files(__package__).joinpath("measured_times.csv").read_text(encoding="utf-8")
    return {line["model"]: float(line["cpu_ms"]) for line in csv.DictReader(text.splitlines())}
