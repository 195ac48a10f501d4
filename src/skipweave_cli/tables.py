"""Tables and lines as every command prints them."""

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
"""The columns of a progress bar."""

_ENDLESS = 10_000


class PlainConsole(Console):
    """Prints words as they are; what a file put into them cannot steer the terminal.

    Args:
        **options: as rich takes them.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **options)

    def on_broken_pipe(self) -> None:
        """Go on without printing where nobody reads any more, as after `| head`: a run has its log."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def render_str(self, text: str, **options: Any) -> Text:
        """Lay out a line, or a table's cell."""
        return super().render_str(printable(text), **options)


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


def print_table(table: Table) -> None:
    """Print a table: fitted to a terminal, or one line a row where the output goes into a pipe or a file."""
    console = PlainConsole()
    if not console.is_terminal:
        console = PlainConsole(width=PlainConsole(width=_ENDLESS).measure(table).maximum)
    console.print(table)


def say(line: str) -> None:
    """Print a line, never folded."""
    PlainConsole().print(line, soft_wrap=True)


def complain(problem: str) -> None:
    """Print a problem that does not end the command to stderr, in a line."""
    print(printable(f"skipweave: error: {' '.join(problem.split())}"), file=sys.stderr)
