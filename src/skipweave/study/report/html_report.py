"""The report of a study as one self-contained HTML file, conclusions first."""

import json
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from skipweave.files.atomic_write import write_text
from skipweave.study.report.comparison_table import comparison_section
from skipweave.study.report.inline_svg import inline_svg
from skipweave.study.report.result_plots import INK, PAPER, plot_styles
from skipweave.study.report.verdict import interval_text, verdict
from skipweave.study.results import COSTS, Network, Results, Run, Summary
from skipweave.training import Metric

#: What plots draw in neutral colors takes the page's own, light or dark. Connection pictures stay on white.
_PAGE_COLORS = {INK: "currentColor", PAPER: "var(--paper)"}

_MARKS = "Small marks are single runs, large ones their mean, with its 95 % interval where networks have several seeds"

#: Heading, the plot's title, and the note between them.
_SECTIONS = {
    "distance": (
        "Back-propagation distance",
        "Test metric against back-propagation distance",
        "Links on the shortest way back between two nodes of the network: the most of any two, and the mean of all. "
        f"{_MARKS}; lines join networks that differ only in what is read and have equal links.",
    ),
    "exits": (
        "Early exits",
        "Test metric against operations up to each exit",
        "Mean over seeds of each exit, the last head at the right; nothing behind an exit need be computed for it.",
    ),
    "curves": ("Learning curves", "Learning curves", "Mean over seeds; the shaded band is their range."),
}


def write_report(path: Path, results: Results, plots: Mapping[str, Path], pictures: Mapping[str, Path]) -> None:
    """Write the report.

    Args:
        path: The HTML file to write.
        results: What the study found.
        plots: SVG files by key, as `plots.write_plots` returns them.
        pictures: SVG file of the connection picture by network label.
    """
    template = Template(files("skipweave.study.report").joinpath("report.html").read_text(encoding="utf-8"))
    page = template.substitute(
        title=escape(results.title),
        answer="\n".join(f"<p>{escape(sentence)}</p>" for sentence in verdict(results)),
        failures=_failures(results),
        table=_table(results),
        table_note=escape(_table_note(results)),
        comparisons=comparison_section(results),
        runs=_runs(results),
        plots=_plots({key: file for key, file in plots.items() if key in COSTS}, results.metric),
        distance=_section("distance", plots),
        exits=_section("exits", plots),
        pictures=_pictures(results, pictures),
        curves=_section("curves", plots),
        facts="\n".join(_fact_list(heading, lines) for heading, lines in results.facts.items()),
        commands="\n".join(f"<pre>{escape(command)}</pre>" for command in results.commands),
    )
    write_text(path, page)


def _failures(results: Results) -> str:
    if not results.failures:
        return ""
    items = "".join(f"<li><b>{escape(what)}</b>: {escape(why)}</li>" for what, why in results.failures)
    return f'<section class="failed"><h2>Not finished</h2><ul>{items}</ul></section>'


def _table(results: Results) -> str:
    test = f"test {results.metric.axis_label}"
    head = ("network", test, "parameters", "MACs", "links", "longest path", "mean path", "inference [ms]",
            "training step [ms]", "trained in [s]")  # fmt: skip
    first = next((s for s in results.summaries if s.timing), None)
    fronts, colors = {key: results.front(key) for key in COSTS}, plot_styles(results)
    rows = "".join(
        _table_row(s, interval_text(s, results), first, fronts, colors[s.network.label][0], best=i == 0)
        for i, s in enumerate(results.ranked)
    )
    return f"<table><thead><tr>{_cells('th', head)}</tr></thead><tbody>{rows}</tbody></table>"


def _table_row(
    summary: Summary,
    interval: str,
    first: Summary | None,
    fronts: Mapping[str, tuple[str, ...]],
    color: str,
    *,
    best: bool,
) -> str:
    label, cost = summary.network.label, summary.network.cost
    ring = ' <span class="front" title="on the Pareto front">○</span>'
    mark = {key: ring if label in fronts[key] else "" for key in COSTS}
    cells = (
        f'<span class="dot" style="background:{color}"></span>{escape(label)}',
        f"{summary.mean:.2f}" + (f" <small>{interval}</small>" if interval else ""),
        *((f"{cost.parameters:,}" + mark["parameters"], _short(cost.macs) + mark["macs"],
           f"{cost.links}", f"{cost.max_distance:g}", f"{cost.mean_distance:.2f}") if cost else ("",) * 5),
        *(_time_cell(summary, first, key) + mark[key] for key in ("inference_ms", "step_ms")),
        f"{summary.train_seconds:.1f}",
    )  # fmt: skip
    row = '<tr class="best">' if best else "<tr>"
    return f"{row}{_cells('td', cells)}</tr>"


def _short(count: int) -> str:
    """1234567 as `1.235 M`."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return str(count)


def _time_cell(summary: Summary, first: Summary | None, key: str) -> str:
    """Milliseconds, and the ratio to the study's first network."""
    if summary.timing is None or first is None or first.timing is None:
        return "–"
    value = getattr(summary.timing, key)
    return f"{value:.2f} <small>×{value / getattr(first.timing, key):.2f}</small>"


def _table_note(results: Results) -> str:
    first = results.networks[0].label if results.networks else ""
    note = (
        f"Test {results.metric.label} of {results.weights}, {_mean_note(results)}; the test split was read once, after "
        "training. "
        "Longest and mean path: links on the shortest way back between any two nodes of the network. "
        "○: on the Pareto front of that cost (no other network is cheaper without a worse mean). "
    )
    return note + (f"Times: {results.timing_note}; × is the ratio to {first}." if results.timing_note else "")


def _mean_note(results: Results) -> str:
    """What mean and interval are."""
    if not results.spread:
        return "one seed"
    return (
        "mean over seeds with its 95 % interval: by Student's t, for other seeds on these test images, from the spread "
        f"over seeds pooled over the networks ({results.spread.value:.2f}, {results.spread.freedom} degrees of freedom)"
    )


def _runs(results: Results) -> str:
    networks = {network.label: network for network in results.networks}
    rows = "".join(f"<tr>{_cells('td', _run_cells(run, networks[run.label]))}</tr>" for run in results.runs)
    test = f"test {results.metric.axis_label}"
    head = ("network", "model and overrides", "seed", test, "trained in [s]", "run directory")
    return f"<table class='runs'><thead><tr>{_cells('th', head)}</tr></thead><tbody>{rows}</tbody></table>"


def _run_cells(run: Run, network: Network) -> tuple[str, ...]:
    value = f'<span class="failed">{escape(run.failure)}</span>' if run.value is None else f"{run.value:.2f}"
    value = f"stopped after {run.stopped_after} epochs" if run.stopped_after else value
    seconds = "–" if run.train_seconds is None else f"{run.train_seconds:.1f}"
    model = escape(f"{network.model} {json.dumps(dict(network.args))}")
    return escape(run.label), model, str(run.seed), value, seconds, escape(run.run_dir)


def _plots(plots: Mapping[str, Path], metric: Metric) -> str:
    if not plots:
        return ""
    figures = "".join(
        _figure(file, f"{key}-", f"Test {metric.label} against {COSTS[key]}") for key, file in plots.items()
    )
    note = (
        f"{_MARKS}; ringed networks lie on the Pareto front, the dashed line is its staircase. "
        f"{'Higher' if metric.higher_is_better else 'Lower'} and further left is better."
    )
    heading = f"<h2>Test {metric.label} against cost</h2>"
    return f'{heading}<p class="note">{note}</p><div class="plots">{figures}</div>'


def _section(key: str, plots: Mapping[str, Path]) -> str:
    """A plot under its heading, with a note; nothing where it was not drawn."""
    if key not in plots:
        return ""
    heading, title, note = _SECTIONS[key]
    figure = _figure(plots[key], f"{key}-", title)
    wide = figure if key == "distance" else f'<div class="wide">{figure}</div>'
    return f'<h2>{heading}</h2><p class="note">{note}</p>{wide}'


def _pictures(results: Results, pictures: Mapping[str, Path]) -> str:
    if not pictures:
        return ""
    shown = [network for network in results.networks if network.label in pictures]
    figures = "".join(
        f"<div><h3>{escape(n.label)}</h3>{_figure(pictures[n.label], f'c{i}-', f'Connections of {n.label}')}</div>"
        for i, n in enumerate(shown)
    )
    return f'<h2>Connections</h2><div class="pictures">{figures}</div>'


def _figure(file: Path, prefix: str, title: str) -> str:
    svg = inline_svg(file.read_text(encoding="utf-8"), prefix, escape(title), _PAGE_COLORS)
    return f"<figure>{svg}</figure>"


def _fact_list(heading: str, lines: Iterable[tuple[str, str]]) -> str:
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in lines)
    return f"<h3>{escape(heading)}</h3><dl>{items}</dl>"


def _cells(tag: str, cells: Iterable[str]) -> str:
    return "".join(f"<{tag}>{cell}</{tag}>" for cell in cells)
