"""Tables and lines as every command prints them."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

BAR = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
"""The columns of a progress bar."""

_ENDLESS = 10_000


def new_table(*columns: str, right: Sequence[str] = ()) -> Table:
    """Begin a table.

    Args:
        columns: their headings.
        right: those to be set flush right.
    """
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(
            column, justify="right" if column in right else "left", no_wrap=column in right, overflow="fold"
        )
    return table


def _console(width: int | None = None) -> Console:
    return Console(markup=False, highlight=False, width=width)


def print_table(table: Table) -> None:
    """Print a table: fitted to a terminal, or one line a row where the output goes into a pipe or a file."""
    console = _console()
    console = console if console.is_terminal else _console(_console(_ENDLESS).measure(table).maximum)
    console.print(table)


def say(line: str) -> None:
    """Print a line, never folded."""
    _console().print(line, soft_wrap=True)
