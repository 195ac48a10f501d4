"""The report's tables: two with a row per network, of results and of costs, and one with a row per run."""

import json
from collections.abc import Iterable, Sequence
from html import escape

from skipweave.study.report.markers import marker_svg
from skipweave.study.report.result_plots import plot_styles
from skipweave.study.report.table_columns import Cell, Column, cost_columns, result_columns
from skipweave.study.results import Network, Results, Run, Summary

_MISSING = "–"


def result_table(results: Results) -> str:
    """The table of results, best first, which the report's script sorts and filters."""
    return _table("results", results, result_columns(results))


def cost_section(results: Results) -> str:
    """Heading, table and notes of further costs."""
    notes = [
        "Memory: peak of the tensors of a training step at the study's batch size, and of inference on one image, "
        "computed for float32 and not measured.",
        *([f"Engines: {results.engine_note}."] if results.engine_note else []),
    ]
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    table = _table("costs", results, cost_columns(results))
    return f'<h2>Memory, engines and training</h2><div class="scroll">{table}</div><ul class="notes">{items}</ul>'


def _table(name: str, results: Results, columns: Sequence[Column]) -> str:
    """A table of networks, without the columns in which no network has a value."""
    shown = [column for column in columns if any(column.cell(summary) for summary in results.summaries)]
    head = "".join(f'<th scope="col">{_title(title)}</th>' for title in ("model", *(column.title for column in shown)))
    rows = "".join(
        model_row(results, s, model_cell(results, s) + "".join(_td(column.cell(s)) for column in shown))
        for s in results.ranked
    )
    return f'<table class="models {name}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def model_row(results: Results, summary: Summary, cells: str) -> str:
    """A row of a network, which the report's script highlights."""
    best = ' class="best"' if summary.network.label == results.ranked[0].network.label else ""
    index, search = index_of(results, summary.network.label), escape(described(summary.network))
    return f'<tr data-model="{index}" data-search="{search}"{best}>{cells}</tr>'


def model_cell(results: Results, summary: Summary) -> str:
    """The first cell of a network's row: its name."""
    return f'<th scope="row"><span class="name">{labeled(results, summary.network.label)}</span></th>'


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


def _run_cells(results: Results, run: Run, network: Network) -> tuple[str, ...]:
    value = f'<span class="failed">{escape(run.failure)}</span>' if run.value is None else f"{run.value:.2f}"
    value = f"stopped after {run.stopped_after} epochs" if run.stopped_after else value
    seconds = _MISSING if run.train_seconds is None else f"{run.train_seconds:,.1f}"
    label = labeled(results, run.label)
    return label, escape(described(network)), str(run.seed), value, seconds, escape(run.run_dir)


def _title(text: str) -> str:
    """A heading whose unit is set smaller."""
    name, bracket, unit = text.partition(" [")
    return escape(name) + (f" <small>[{escape(unit)}</small>" if bracket else "")


def _td(cell: Cell | None) -> str:
    if cell is None:
        return f"<td>{_MISSING}</td>"
    return f"<td>{cell.markup}</td>" if cell.value is None else f'<td data-value="{cell.value:g}">{cell.markup}</td>'


def _cells(cells: Iterable[str]) -> str:
    return "".join(f"<td>{cell}</td>" for cell in cells)
