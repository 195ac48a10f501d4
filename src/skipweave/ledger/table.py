"""Rows of the ledger: one figure that a paper printed for a network, beside the expected figure."""

import csv
import json
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from importlib import resources
from typing import Any, Literal

from skipweave_config.errors import SkipweaveError

PAPERS = {
    "sparsenet": "Sparsely Aggregated Convolutional Networks",
    "log_densenet": "Log-DenseNet: How to Sparsify a DenseNet",
    "seqconv": "Sequentially Aggregated Convolutional Networks",
    "delugenet": "DelugeNets: Deep Networks with Efficient and Flexible Cross-layer Information Inflows",
    "channel_sparsity": "The Power of Sparsity in Convolutional Neural Networks",
    "hardnet": "HarDNet: A Low Memory Traffic Network",
}
"""Key of each paper (the name of its CSV file) and its title."""

INPUT_SIZES = {
    "cifar10": (3, 32, 32),
    "cifar100": (3, 32, 32),
    "svhn": (3, 32, 32),
    "mnist": (1, 28, 28),
    "camvid": (3, 224, 224),
    "imagenet": (3, 224, 224),
    "imagenet299": (3, 299, 299),
}
"""Channels, height and width at which each dataset's operations are counted (CamVid: the crops, not the images)."""

SCALES = {"": 1, "%": 1, "ms": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Gi": 2**30}
"""What one of each unit stands for; one paper divides its operations by 2^30."""

MEASURED = {
    **dict.fromkeys(("error", "top5_error", "accuracy", "mean_iou", "iou"), "requires training"),
    **dict.fromkeys(("time", "training_memory", "inference_memory"), "depends on the machine"),
}
"""Quantities that no count gives, with the reason."""

Match = Literal["yes", "no", "unexplained", "open"]


@dataclass(frozen=True)
class Row:
    """One printed figure of one network.

    A network has several rows where the paper can be read in several ways: the reading that gives the figure, and the
    one that the paper describes, even when that one does not.

    Attributes:
        paper: Key into `PAPERS`.
        table: Where it is printed ("authors' page": that of their code; "not printed": nowhere, our own count).
        row: The network as the paper names it, slips included.
        dataset: Key into `INPUT_SIZES`: the dataset whose image size and number of classes `overrides` counts.
        quantity: "parameters" (learnable ones), "parameters_with_statistics" (and two running statistics a normalized
            channel), "convolution_weights", "macs" (of convolutions and classifier), "convolution_macs", "operations"
            (FLOPs in the paper's own convention), or one of `MEASURED`.
        printed: The figure as printed, without its unit; empty where the paper prints none.
        unit: Key into `SCALES`.
        model: Our name of the network or timm's, `torchvision:<name>` for one of torchvision's, or empty where none of
            them has it.
        overrides: What differs from the model's defaults.
        expected: Our own figure, counted on the network, or by hand if there is no `model`: an exact whole number (not
            in units), or a figure in units to the decimals given; None where we have none, as for every error rate.
        match: Whether `expected`, rounded to the printed decimals, is the printed figure: "no" if the note has the
            reason, "unexplained" if none is known; "open" where one is missing.
        note: What a reader has to know, above all why the two differ.
    """

    paper: str
    table: str
    row: str
    dataset: str
    quantity: str
    printed: str
    unit: str
    model: str
    overrides: dict[str, Any]
    expected: int | Decimal | None
    match: Match
    note: str

    @property
    def input_size(self) -> tuple[int, int, int]:
        """Channels, height and width at which the network's operations are counted."""
        return INPUT_SIZES[self.dataset]

    @property
    def is_countable(self) -> bool:
        """Whether the network can be built, and the figure counted on it."""
        return bool(self.model) and self.quantity not in MEASURED

    @property
    def ours(self) -> int | Decimal | None:
        """Our own figure, not in units."""
        return self.expected * SCALES[self.unit] if isinstance(self.expected, Decimal) else self.expected

    @property
    def theirs(self) -> Decimal | None:
        """The printed figure, not in units."""
        return Decimal(self.printed) * SCALES[self.unit] if self.printed else None

    def is_expected(self, value: int | Decimal) -> bool:
        """Whether a count (not in units) is exactly `expected`, or agrees with it to its decimals."""
        if isinstance(self.expected, Decimal):
            return self._rounded_like(self.expected, value) == self.expected
        return value == self.expected

    def is_printed(self, value: int | Decimal) -> bool:
        """Whether a count (not in units), rounded half up to the printed decimals, is the printed figure."""
        printed = Decimal(self.printed)
        return self._rounded_like(printed, value) == printed

    def in_units(self, value: int | Decimal) -> Decimal:
        """A count in the row's unit."""
        return Decimal(value) / SCALES[self.unit]

    def _rounded_like(self, figure: Decimal, value: int | Decimal) -> Decimal:
        return self.in_units(value).quantize(figure, rounding=ROUND_HALF_UP)


def rows(paper: str | None = None) -> tuple[Row, ...]:
    """Rows of one paper, or of all, in the order of their tables.

    Args:
        paper: Key into `PAPERS`.

    Raises:
        SkipweaveError: There is no such paper.

    >>> next(row.expected for row in rows("sparsenet") if row.model == "sparsenet40_24")
    757252
    """
    if paper is not None and paper not in PAPERS:
        raise SkipweaveError(f"unknown paper {paper!r}: the ledger has {', '.join(PAPERS)}")
    return tuple(row for key in ([paper] if paper else PAPERS) for row in _read(key))


@cache
def _read(paper: str) -> tuple[Row, ...]:
    text = resources.files(__package__).joinpath(f"{paper}.csv").read_text(encoding="utf-8")
    return tuple(_row(paper, line) for line in csv.DictReader(text.splitlines()))


def _row(paper: str, line: dict[str, Any]) -> Row:
    overrides = json.loads(line.pop("overrides") or "{}")
    expected = line.pop("expected")
    return Row(paper=paper, overrides=overrides, expected=_number(expected) if expected else None, **line)


def _number(text: str) -> int | Decimal:
    return Decimal(text) if "." in text else int(text)
