"""What the five papers printed about their networks, as data; `skipweave.analysis` builds the networks and compares."""

from skipweave.ledger.comparison import Comparison, stored
from skipweave.ledger.table import INPUT_SIZES, PAPERS, Row, rows

__all__ = ["INPUT_SIZES", "PAPERS", "Comparison", "Row", "rows", "stored"]
