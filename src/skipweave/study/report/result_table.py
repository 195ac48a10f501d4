"""The report's tables: one row per network, and one row per run.

A figure of networks that the table should have gets a `Column` in `_columns`; a column without any value is left out.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from skipweave.study.comparisons import Comparison, comparisons
from skipweave.study.report.markers import marker_svg
from skipweave.study.report.result_plots import plot_styles
from skipweave.study.report.verdict import interval_text
from skipweave.study.results import COSTS, Cost, Network, Results, Run, Summary, cost_of

_RING = ' <span class="front" title="on the Pareto front of this cost">○</span>'
_MISSING = "–"


class Cell(NamedTuple):
    """A cell: markup, and what the table is sorted by."""

    markup: str
    value: float


@dataclass(frozen=True)
class Column:
    """A column of the table of networks.

    Attributes:
        title: Its heading, with a unit in brackets.
        cell: The cell of a network; None where it has no such value.
    """

    title: str
    cell: Callable[[Summary], Cell | None]


def result_table(results: Results) -> str:
    """The table of networks, best first, which the report's script sorts and filters."""
    shown = [column for column in _columns(results) if any(column.cell(s) for s in results.summaries)]
    head = "".join(
        f'<th scope="col">{_title(column.title)}</th>' for column in (Column("model", lambda _: None), *shown)
    )
    rows = "".join(_row(results, s, shown, best=place == 0) for place, s in enumerate(results.ranked))
    return f'<table id="results"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _row(results: Results, summary: Summary, shown: Iterable[Column], *, best: bool) -> str:
    label, search = summary.network.label, escape(described(summary.network))
    attributes = f'data-model="{index_of(results, label)}" data-search="{search}"' + (' class="best"' if best else "")
    cells = "".join(_td(column.cell(summary)) for column in shown)
    return f'<tr {attributes}><th scope="row"><span class="name">{labeled(results, label)}</span></th>{cells}</tr>'


def run_table(results: Results) -> str:
    """The table of runs, with what was trained and where it is, or why it failed."""
    networks = {network.label: network for network in results.networks}
    rows = "".join(f"<tr>{_cells(_run_cells(results, run, networks[run.label]))}</tr>" for run in results.runs)
    test = f"test {results.metric.axis_label}"
    titles = ("model", "registered name and overrides", "seed", test, "trained in [s]", "run directory")
    head = "".join(f'<th scope="col">{_title(title)}</th>' for title in titles)
    return f'<table class="runs"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def index_of(results: Results, label: str) -> int:
    """Index of a network in the study, by which the page finds its marks."""
    return next(index for index, network in enumerate(results.networks) if network.label == label)


def labeled(results: Results, label: str) -> str:
    """The name of a network behind its mark."""
    return f"{marker_svg(*plot_styles(results)[label])}{escape(label)}"


def described(network: Network) -> str:
    """The registered name of a network and its overrides."""
    return f"{network.model} {json.dumps(dict(network.args)) if network.args else ''}".rstrip()


def _columns(results: Results) -> tuple[Column, ...]:
    fronts = {key: results.front(key) for key in COSTS}
    first = next((s for s in results.summaries if s.timing), None)
    with_best = {one.network.network.label: one for one in comparisons(results) if _of_best(one, results)}

    def ring(summary: Summary, key: str) -> str:
        return _RING if summary.network.label in fronts[key] else ""

    def of_cost(
        text: Callable[[Cost], str], value: Callable[[Cost], float], key: str = ""
    ) -> Callable[..., Cell | None]:
        def cell(summary: Summary) -> Cell | None:
            cost = summary.network.cost
            return Cell(text(cost) + ring(summary, key), value(cost)) if cost else None

        return cell

    def of_topology(text: Callable[[Cost], str], value: Callable[[Cost], float]) -> Callable[..., Cell | None]:
        def cell(summary: Summary) -> Cell | None:
            cost = summary.network.cost
            return Cell(text(cost), value(cost)) if cost and cost.links else None  # 0: no known topology

        return cell

    def time(key: str) -> Callable[..., Cell | None]:
        def cell(summary: Summary) -> Cell | None:
            value = cost_of(summary, key)
            if value is None or first is None:
                return None
            ratio = value / (cost_of(first, key) or 1.0)
            return Cell(f"{value:.2f}{ring(summary, key)} <small>×{ratio:.2f}</small>", value)

        return cell

    return (
        Column(f"test {results.metric.axis_label}", lambda s: _metric_cell(s, results)),
        Column("difference to the best", lambda s: _difference_cell(with_best.get(s.network.label))),
        Column("parameters", of_cost(lambda c: f"{c.parameters:,}", lambda c: c.parameters, "parameters")),
        Column("MACs", of_cost(lambda c: short(c.macs), lambda c: c.macs, "macs")),
        Column("links", of_topology(lambda c: f"{c.links:,}", lambda c: c.links)),
        Column("longest path", of_topology(lambda c: f"{c.max_distance:g}", lambda c: c.max_distance)),
        Column("mean path", of_topology(lambda c: f"{c.mean_distance:.2f}", lambda c: c.mean_distance)),
        Column("inference [ms]", time("inference_ms")),
        Column("training step [ms]", time("step_ms")),
        Column("trained in [s]", lambda s: Cell(f"{s.train_seconds:,.1f}", s.train_seconds)),
    )


def _of_best(one: Comparison, results: Results) -> bool:
    return one.reference.network.label == results.ranked[0].network.label


def _metric_cell(summary: Summary, results: Results) -> Cell:
    interval = interval_text(summary, results)
    return Cell(f"{summary.mean:.2f}" + (f" <small>{interval}</small>" if interval else ""), summary.mean)


def _difference_cell(one: Comparison | None) -> Cell | None:
    if one is None:
        return None
    text = f"{one.difference:+.2f}".replace("-", "\N{MINUS SIGN}")
    if one.p is None:
        return Cell(text, one.difference)
    note = "beyond chance" if one.differs else "within chance"
    return Cell(f"<span class={'worse' if one.differs else 'same'}>{text} <small>{note}</small></span>", one.difference)


def short(count: int) -> str:
    """A count in short.

    >>> short(1_234_567)
    '1.235 M'
    """
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return str(count)


def _run_cells(results: Results, run: Run, network: Network) -> tuple[str, ...]:
    value = f'<span class="failed">{escape(run.failure)}</span>' if run.value is None else f"{run.value:.2f}"
    seconds = _MISSING if run.train_seconds is None else f"{run.train_seconds:,.1f}"
    label = labeled(results, run.label)
    return label, escape(described(network)), str(run.seed), value, seconds, escape(run.run_dir)


def _title(text: str) -> str:
    """A heading whose unit is set smaller."""
    name, bracket, unit = text.partition(" [")
    return escape(name) + (f" <small>[{escape(unit)}</small>" if bracket else "")


def _td(cell: Cell | None) -> str:
    return f"<td>{_MISSING}</td>" if cell is None else f'<td data-value="{cell.value:g}">{cell.markup}</td>'


def _cells(cells: Iterable[str]) -> str:
    return "".join(f"<td>{cell}</td>" for cell in cells)
