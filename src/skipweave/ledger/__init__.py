"""What the five papers printed about their networks, as data. No torch; whoever checks it builds the networks."""

from skipweave.ledger.table import INPUT_SIZES, PAPERS, Row, rows

__all__ = ["INPUT_SIZES", "PAPERS", "Row", "rows"]
