"""`skipweave ledger`: published figures beside those of the models here."""

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from skipweave.analysis.ledger_check import by_network, check
from skipweave.ledger import PAPERS, Comparison, Row, rows, stored
from skipweave.ledger.efficiency import TRADE_OFFS, TradeOff
from skipweave_cli.options import LedgerOptions
from skipweave_cli.output_files import make_room
from skipweave_cli.tables import new_table, print_table, say
from skipweave_config.errors import SkipweaveError

_SMALL = 0.015  # relative difference
_STYLES = {"yes": "green", "no": "yellow", "unexplained": "magenta", "open": "dim", "wrong": "bold red"}


def ledger(options: LedgerOptions) -> None:
    """Print the figures of the papers beside ours, and plot published errors against costs.

    Raises:
        SkipweaveError: A file exists already, or a figure of ours is not the one that the ledger stores.
    """
    plots = _plots(options)
    listed = rows(options.paper)
    results = _built(listed) if options.build else [stored(row) for row in listed]
    notes: dict[str, int] = {}
    for title, group in groupby(results, lambda result: f"{PAPERS[result.row.paper]}, {result.row.table}"):
        print_table(_comparison(title, list(group), notes))
    for note, number in notes.items():
        say(f"{number:>3}  {note}")
    say("\n" + _verdicts(results))
    _save(plots)
    if wrong := sum(result.verdict == "wrong" for result in results):
        raise SkipweaveError(f"{wrong} rows are not what the ledger stores; they are marked `wrong` in the table")


def _plots(options: LedgerOptions) -> dict[Path, TradeOff]:
    """Plots of the papers by the paths to write, without ending; raises if a file exists."""
    if options.save is None:
        return {}
    from skipweave.plotting.figure_files import figure_paths  # imports matplotlib, which the table does not need

    chosen = {options.save / plot.name: plot for plot in TRADE_OFFS if options.paper in (None, plot.paper)}
    make_room(path for prefix in chosen for path in figure_paths(prefix))
    return chosen


def _save(plots: Mapping[Path, TradeOff]) -> None:
    if not plots:
        return
    from skipweave.plotting.efficiency_plots import draw_trade_off
    from skipweave.plotting.figure_files import save_figure

    for prefix, trade_off in plots.items():
        _, svg = save_figure(draw_trade_off(trade_off), prefix)
        say(f"saved {svg}")


def _built(listed: Sequence[Row]) -> list[Comparison]:
    """Comparisons with the networks, built again."""
    progress = Console(stderr=True)
    groups = track(by_network(listed), "building", console=progress, transient=True, disable=not progress.is_terminal)
    results = {id(result.row): result for group in groups for result in check(group)}
    return [results[id(row)] for row in listed]


def _comparison(title: str, results: Sequence[Comparison], notes: dict[str, int]) -> Table:
    """One printed table; notes are numbered, and new ones added to `notes`."""
    figures = ("printed", "ours", "off")
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
            _in_units(result),
            "" if result.difference is None else f"{result.difference:+.1%}",
            result.verdict,
            ", ".join(map(str, found)),
            style=_STYLES[result.verdict],
        )
    return table


def _in_units(result: Comparison) -> str:
    """Our figure with two decimals more than the printed one has, or those stored; in full where nothing is printed."""
    row = result.row
    if result.ours is None:
        return ""
    if isinstance(row.expected, Decimal):
        decimals = len(str(row.expected).partition(".")[2])
    elif row.printed:
        decimals = len(row.printed.partition(".")[2]) + 2
    else:
        return f"{result.ours:,}"
    return f"{row.in_units(result.ours):.{decimals}f}{row.unit}"


def _verdicts(results: Sequence[Comparison]) -> str:
    """Number of rows by verdict; differences without explanation also by size."""
    count = Counter(result.verdict for result in results)
    ours = sum(result.ours is not None for result in results)
    unprinted = ours - sum(count[verdict] for verdict in ("yes", "no", "unexplained", "wrong"))
    small = sum(result.verdict == "unexplained" and abs(result.difference or 0) < _SMALL for result in results)
    return (
        f"{len(results)} rows, {ours} with a figure of ours: {count['yes']} give the printed figure, {count['no']} "
        f"differ from it for the reason noted, {count['unexplained']} differ and are unexplained ({small} of them by "
        f"less than {_SMALL:.1%}), {unprinted} have no printed figure, {count['wrong']} are wrong; "
        f"{len(results) - ours} without a figure of ours"
    )
