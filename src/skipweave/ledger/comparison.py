"""Comparison of printed figures with our own."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from skipweave.ledger.table import MEASURED, Row

Verdict = Literal["yes", "no", "unexplained", "open", "wrong"]


@dataclass(frozen=True)
class Comparison:
    """Row of the ledger and our figure.

    Attributes:
        row: The row.
        ours: Our figure of the row's quantity, not in units; None if there is none.
        reason: Why there is none; empty otherwise.
    """

    row: Row
    ours: int | Decimal | None
    reason: str = ""

    @property
    def verdict(self) -> Verdict:
        """Comparison with the printed figure.

        "yes": equal, rounded to the printed decimals. "no": different, for the reason in the row's note.
        "unexplained": different, for no known reason. "open": one of the two is missing. "wrong": different from the
        figure that the ledger stores for this network.
        """
        if self.ours is None:
            return "open"
        if self.row.expected is not None and not self.row.is_expected(self.ours):
            return "wrong"
        if not self.row.printed:
            return "open"
        if self.row.is_printed(self.ours):
            return "yes"
        return "unexplained" if self.row.match == "unexplained" else "no"

    @property
    def difference(self) -> float | None:
        """Relative difference to the printed figure, e.g. 0.02 for 2 % more; None if a figure is missing."""
        if self.ours is None or not self.row.printed:
            return None
        return float(self.row.in_units(self.ours) / Decimal(self.row.printed)) - 1


def stored(row: Row) -> Comparison:
    """Compare a row's printed figure with ours as the ledger stores it, without building the network."""
    if row.ours is None:
        return Comparison(row, None, MEASURED.get(row.quantity, "not a network of skipweave"))
    return Comparison(row, row.ours)
