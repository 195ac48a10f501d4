"""`skipweave ledger`: published figures beside those of the models here."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.progress import track
from rich.table import Table

from skipweave.analysis.ledger_check import Check, by_network, check
from skipweave.ledger import PAPERS, Row, rows
from skipweave_cli.options import LedgerOptions
from skipweave_cli.tables import new_table, print_table, say
from skipweave_config.errors import SkipweaveError

_STYLES = {"yes": "green", "no": "yellow", "open": "dim", "wrong": "bold red"}


def ledger(options: LedgerOptions) -> None:
    """Build every model whose size a paper printed, and print both figures.

    Raises:
        SkipweaveError: A row does not match although the ledger expects it to.
    """
    listed = rows(options.paper)
    progress = Console(stderr=True)
    groups = track(by_network(listed), "building", console=progress, transient=True, disable=not progress.is_terminal)
    checks = {id(result.row): result for group in groups for result in check(group)}
    results = [checks[id(row)] for row in listed]
    notes: dict[str, int] = {}
    for title, group in groupby(results, lambda result: f"{PAPERS[result.row.paper]}, {result.row.table}"):
        print_table(_comparison(title, list(group), notes))
    for note, number in notes.items():
        say(f"{number:>3}  {note}")
    say("\n" + _verdicts(results))
    if wrong := sum(result.verdict == "wrong" for result in results):
        raise SkipweaveError(f"{wrong} rows are not what the ledger expects; they are marked `wrong` in the table")


def _comparison(title: str, results: Sequence[Check], notes: dict[str, int]) -> Table:
    """One printed table; notes are numbered, and new ones added to `notes`."""
    figures = ("printed", "built", "off")
    table = new_table("row", "built as", "what", *figures, "match", "note", right=figures)
    table.title = title
    for result in results:
        row = result.row
        found = [notes.setdefault(note, len(notes) + 1) for note in (result.reason, row.note) if note]
        table.add_row(
            row.row,
            " ".join([row.model, *(f"{key}={value}" for key, value in row.overrides.items())]),
            row.quantity.replace("_", " "),
            f"{row.printed}{row.unit if row.printed else ''}",
            _in_units(row, result.built),
            "" if result.difference is None else f"{result.difference:+.1%}",
            result.verdict,
            ", ".join(map(str, found)),
            style=_STYLES[result.verdict],
        )
    return table


def _in_units(row: Row, built: int | None) -> str:
    """A built figure with two decimals more than the printed one has; in full where nothing is printed."""
    if built is None:
        return ""
    if not row.printed:
        return f"{built:,}"
    decimals = len(row.printed.partition(".")[2]) + 2
    return f"{row.in_units(built):.{decimals}f}{row.unit}"


def _verdicts(results: Sequence[Check]) -> str:
    count = Counter(result.verdict for result in results)
    built = sum(result.built is not None for result in results)
    unexplained = sum(result.verdict == "no" and "unexplained" in result.row.note for result in results)
    unprinted = built - count["yes"] - count["no"] - count["wrong"]
    return (
        f"{len(results)} rows; {built} built: {count['yes']} give the printed figure, {count['no']} differ from it for "
        f"the reason noted ({unexplained} of them unexplained), {unprinted} have no printed figure, "
        f"{count['wrong']} are wrong; "
        f"{len(results) - built} not built"
    )
