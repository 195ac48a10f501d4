"""What the five papers printed about their networks, as data; `skipweave.analysis` builds and compares them."""

from skipweave.ledger.table import INPUT_SIZES, PAPERS, Row, rows

__all__ = ["INPUT_SIZES", "PAPERS", "Row", "rows"]
