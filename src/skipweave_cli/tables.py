"""Output of commands: tables and lines."""

import os
import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from skipweave_config.printable import printable

BAR = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
"""Columns of a progress bar."""

MOST_LINES = 20
"""Rows of a table about images or classes, of which there may be any number."""

_ENDLESS = 10_000


class PlainConsole(Console):
    """Console without markup, in which text from files cannot control the terminal."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **options)

    def on_broken_pipe(self) -> None:
        """Stop printing but continue, as after `| head`: a run has its log."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def render_str(self, text: str, **options: Any) -> Text:
        """Render a line, or a cell of a table."""
        return super().render_str(printable(text), **options)


def new_table(*columns: str, right: Sequence[str] = ()) -> Table:
    """Make an empty table.

    Args:
        columns: Headings.
        right: Columns to align right.
    """
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(
            column, justify="right" if column in right else "left", no_wrap=column in right, overflow="fold"
        )
    return table


def print_table(table: Table) -> None:
    """Print a table: fitted to a terminal, or one line per row into a pipe or a file."""
    console = PlainConsole()
    if not console.is_terminal:
        console = PlainConsole(width=PlainConsole(width=_ENDLESS).measure(table).maximum)
    console.print(table)


def say(line: str) -> None:
    """Print a line without wrapping it."""
    PlainConsole().print(line, soft_wrap=True)


def complain(problem: str, kind: str = "error") -> None:
    """Print a problem that does not end the command to stderr, in one line; nothing if it is empty."""
    if problem:
        print(printable(f"skipweave: {kind}: {' '.join(problem.split())}"), file=sys.stderr)
