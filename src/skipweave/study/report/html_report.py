"""The report of a study as one self-contained HTML file, conclusions first.

It needs no network, and without its script everything is still shown. `report.html` is the page, `report.css` its style
and `report.js` its script; all is written into one file.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from skipweave.files.atomic_write import write_text
from skipweave.study.report.citations import bibtex
from skipweave.study.report.class_tables import class_section
from skipweave.study.report.comparison_table import comparison_section
from skipweave.study.report.model_cards import card_section
from skipweave.study.report.plot_gallery import gallery
from skipweave.study.report.result_table import cost_section, index_of, labeled, result_table, run_table
from skipweave.study.report.sample_images import sample_section
from skipweave.study.report.verdict import outlying_note, verdict
from skipweave.study.results import Results
from skipweave.training.tasks.task import Data

_MOST_OPEN_ROWS = 12  # of a table that is folded if it is longer


def write_report(
    path: Path, results: Results, plots: Mapping[str, str], pictures: Mapping[str, Path], data: Data
) -> None:
    """Write the report.

    Args:
        path: The HTML file to write, in the study directory.
        results: The results.
        plots: Texts of SVG files by key, as `result_plots.write_plots` returns them.
        pictures: SVG file of the connection picture by network label.
        data: The dataset.
    """
    script = _resource("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = Template(_resource("report.html")).substitute(
        title=escape(results.title),
        script_hash=f"sha256-{digest}",
        style=_resource("report.css"),
        script=script,
        size=escape(_size(results, data)),
        answer="\n".join(f"<p>{escape(sentence)}</p>" for sentence in verdict(results)),
        failures=_failures(results),
        legend=_legend(results),
        table=result_table(results),
        costs=cost_section(results),
        table_notes="".join(f"<li>{note}</li>" for note in _table_notes(results)),
        plots=gallery(results, plots),
        comparisons=comparison_section(results),
        classes=class_section(results),
        cards=card_section(results, data, path.parent, pictures),
        samples=sample_section(data),
        runs=_folded(run_table(results), f"{len(results.runs)} runs", len(results.runs)),
        facts="".join(_fact_list(heading, lines) for heading, lines in results.facts.items()),
        commands="\n".join(f'<pre class="command">{escape(command)}</pre>' for command in results.commands),
        bibtex=escape(bibtex(results.networks)),
    )
    write_text(path, page)


def _resource(name: str) -> str:
    return files("skipweave.study.report").joinpath(name).read_text(encoding="utf-8")


def _size(results: Results, data: Data) -> str:
    """The size of the study in a line."""
    finished = sum(run.value is not None for run in results.runs)
    images = f"{len(data.test or ()):,} test images"
    models = f"{len(results.networks)} model{'s' * (len(results.networks) != 1)}"
    return f"{models}, {finished} finished runs, {len(data.classes)} classes, {images}"


def _failures(results: Results) -> str:
    if not results.failures:
        return ""
    items = "".join(f"<li><b>{escape(what)}</b>: {escape(why)}</li>" for what, why in results.failures)
    return f'<section class="failed"><h2>Not finished</h2><ul>{items}</ul></section>'


def _legend(results: Results) -> str:
    """The marks of all networks, which the script makes switches."""
    return "".join(
        f'<button type="button" class="chip" data-model="{index_of(results, s.network.label)}">'
        f"{labeled(results, s.network.label)}</button>"
        for s in results.ranked
    )


def _table_notes(results: Results) -> Iterable[str]:
    """What the columns of the table are."""
    metric, first = results.metric.label, results.networks[0].label if results.networks else ""
    yield escape(
        f"Test {metric} of {results.weights}, {_mean_note(results)}. "
        "The test split was not used before the end of training."
    )
    yield "<b>○</b> on the Pareto front of that cost: no other model is cheaper without a worse mean."
    if any(s.network.cost and s.network.cost.links for s in results.summaries):
        yield "Longest and mean path: links on the shortest way back between any two nodes of the network."
    if results.timing_note:
        yield escape(f"Times: {results.timing_note}; × is the ratio to {first}.")


def _mean_note(results: Results) -> str:
    """What mean and interval are."""
    if not results.spread:
        return "one seed"
    own = f"; {outlying_note(results)}" if results.outlying else ""
    return (
        "mean over seeds with its 95 % interval: by Student's t, for other seeds on these test images, from the spread "
        f"over seeds pooled over the models ({results.spread.value:.2f}, {results.spread.freedom} degrees of "
        f"freedom){own}"
    )


def _folded(table: str, summary: str, rows: int) -> str:
    """A table that scrolls, folded if it is long."""
    is_open = " open" if rows <= _MOST_OPEN_ROWS else ""
    return f'<details{is_open}><summary>{summary}</summary><div class="scroll">{table}</div></details>'


def _fact_list(heading: str, lines: Iterable[tuple[str, str]]) -> str:
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in lines)
    return f"<div><h3>{escape(heading)}</h3><dl>{items}</dl></div>"
