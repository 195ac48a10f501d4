"""CSV and Parquet files as rows of text."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from skipweave_config.errors import SkipweaveError

SEPARATOR = ";"
"""Between the labels of an image."""


class Row(NamedTuple):
    """Row of a table.

    Attributes:
        line: Line of the CSV file on which it ends, or number of the row in the Parquet file, counted from 1.
        cells: Cells, without white space around them.
    """

    line: int
    cells: Sequence[str]


def read_rows(path: Path) -> tuple[list[str], list[Row]]:
    """Load the header and the rows of a table; empty lines are left out.

    Raises:
        SkipweaveError: The file is missing, damaged or empty, or Parquet files cannot be read here.
    """
    header, rows = (_read_parquet if path.suffix.lower() == ".parquet" else _read_csv)(path)
    if not rows:
        raise SkipweaveError(f"table {path} has no rows: expected a header and one row per image")
    return header, rows


def _read_csv(path: Path) -> tuple[list[str], list[Row]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            rows = [Row(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SkipweaveError(f"cannot read table {path} ({error}): expected a CSV file in UTF-8") from error
    header, *others = [row for row in rows if any(row.cells)] or [Row(0, ())]
    return list(header.cells), others


def _read_parquet(path: Path) -> tuple[list[str], list[Row]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise SkipweaveError(
            f"table {path} needs pyarrow: install it with pip install 'skipweave[parquet]', or save it as a CSV file"
        ) from None
    try:
        columns = parquet.read_table(path).to_pydict()
    except (OSError, ArrowException) as error:
        raise SkipweaveError(f"cannot read table {path} ({error}): expected a Parquet file") from error
    cells = zip(*columns.values(), strict=True)
    return list(columns), [Row(number, [*map(_text, row)]) for number, row in enumerate(cells, start=1)]


def _text(value: Any) -> str:
    """A value as a CSV file has it: lists with separators, whole numbers without a point."""
    if isinstance(value, list):
        return SEPARATOR.join(map(_text, value))
    if value is None:
        return ""
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    return str(value).strip()
