"""The study's plots: the metric against each cost with the Pareto front, and learning curves.

All are small and of one size, so that a page has several in a row and their text stays readable on a phone. Every mark
of a network has the id `model-INDEX-PART`, by which the report finds it (`inline_svg.py`).
"""

import math
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator, StrMethodFormatter

from skipweave.plotting.figure_files import save_figure, svg_text
from skipweave.plotting.log_axes import set_log_scale, use_log_scale_if_wide
from skipweave.plotting.point_labels import label_points
from skipweave.plotting.series_styles import series_style
from skipweave.study.report.curves import CURVES, Curve, curve_of, has_validation
from skipweave.study.report.distance_ordering import equal_links, links_of
from skipweave.study.results import COSTS, Cost, Results, Summary, cost_of, pareto_front

#: Text and lines; paper. The report replaces these exact colors by the page's own, light or dark.
INK, PAPER = "#1b1b1d", "#fffffd"

#: Back-propagation distances: key, axis label.
DISTANCES = {
    "max_distance": "maximum back-propagation distance [links]",
    "mean_distance": "mean back-propagation distance [links]",
}

_SIZE = (4.86, 3.7)  # inches: 350 units of an SVG file, the width of a phone
_FONT_SIZE, _LABEL_SIZE = 11, 11
_LEGEND_COLUMNS = 2
_WIDE, _LOG_MARGIN = 10, 1.5  # factors between the values of a metric, and beyond them, on a logarithmic axis

_STYLE: Any = {  # Any: matplotlib types these names one by one
    "text.parse_math": False,  # labels are the user's
    "font.family": "sans-serif",
    "font.size": _FONT_SIZE,
    "axes.labelsize": _LABEL_SIZE,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": PAPER,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "legend.frameon": False,
    "path.simplify": False,  # the report finds a value of a curve by its place in the path
    "savefig.facecolor": PAPER,
    "xtick.color": INK,
    "ytick.color": INK,
}


def write_plots(folder: Path, results: Results) -> dict[str, str]:
    """Draw every plot that the results allow, and write it as SVG and PNG.

    Returns:
        Key (of `COSTS`, `DISTANCES`, then `exits`, and of `CURVES`) to the SVG's text, in the report's order. It has no
        legend, as the report has one for all plots.
    """
    summaries, written = results.summaries, {}
    name = f"{results.metric.name}_vs"
    for key in COSTS:
        if any(cost_of(s, key) is not None for s in summaries):
            written[key] = _save(_cost_plot, folder / f"{name}_{key}", results, key)
    if len({(cost.max_distance, cost.mean_distance) for _, cost in _linked(results)}) > 1:
        for key in DISTANCES:
            written[key] = _save(_distance_plot, folder / f"{name}_{key}", results, key)
    if any(s.exit_values for s in summaries):
        written["exits"] = _save(_exits_plot, folder / f"{name}_exits", results)
    if any(run.curve for run in results.runs):
        for key, file in CURVES.items():
            written[key] = _save(_curves_plot, folder / file, results, key)
    return written


def _save(draw: Callable[..., tuple[Figure, set[str]]], path: Path, results: Results, *args: Any) -> str:
    """Write a plot, with a legend of the networks that have no name beside their marks."""
    with rc_context(_STYLE):
        figure, named = draw(results, *args)
        svg = svg_text(figure)
        _add_legend(figure, results, named)
        save_figure(figure, path)
    return svg


def plot_styles(results: Results) -> dict[str, tuple[str, str]]:
    """Color and marker of each network, the same in every plot."""
    return {network.label: series_style(index) for index, network in enumerate(results.networks)}


def _add_legend(figure: Figure, results: Results, named: set[str]) -> None:
    styles = plot_styles(results)
    labels = [s.network.label for s in results.summaries if s.network.label not in named]
    if not labels:
        return
    handles = [Line2D([], [], color=styles[label][0], marker=styles[label][1], linestyle="none") for label in labels]
    figure.set_figheight(_SIZE[1] + 0.25 * math.ceil(len(labels) / _LEGEND_COLUMNS))
    figure.legend(handles, labels, loc="outside lower center", ncols=_LEGEND_COLUMNS, fontsize=9.5)


def _mark(artists: Sequence[Artist], results: Results, label: str, part: str) -> None:
    """Give the marks of a network their ids."""
    index = next(i for i, network in enumerate(results.networks) if network.label == label)
    for number, artist in enumerate(artists):
        artist.set_gid(f"model-{index}-{part}{number or ''}")


def _name_points(axes: Axes, results: Results, points: Sequence[tuple[str, float, float]]) -> set[str]:
    """Write the names of networks beside points (label, x, y), as far as there is room; return those written."""
    ranks = {s.network.label: rank for rank, s in enumerate(results.ranked)}
    ordered = sorted(points, key=lambda point: ranks[point[0]])
    single_runs = [(x, run.value) for label, x, _ in points for run in results.runs
                   if run.label == label and run.value is not None]  # fmt: skip
    labels = [label for label, *_ in ordered]
    places = [(x, y) for _, x, y in ordered] + single_runs
    placed = label_points(axes, places, labels, color=INK, fontsize=_LABEL_SIZE)
    for index, text in placed.items():
        _mark([text], results, labels[index], "name")
    return {labels[index] for index in placed}


def _cost_plot(results: Results, key: str) -> tuple[Figure, set[str]]:
    """Mean test metric against one cost: every seed small, mean large with its interval, the front as a step line."""
    figure = Figure(figsize=_SIZE)
    axes = figure.add_subplot()
    shown = [(s, cost) for s in results.summaries if (cost := cost_of(s, key)) is not None]
    front = pareto_front([(cost, results.metric.rank(s.mean)) for s, cost in shown])
    costs, values = zip(*((shown[i][1], shown[i][0].mean) for i in front), strict=True)
    axes.step(costs, values, where="post", color=INK, linewidth=1, linestyle="--", alpha=0.6, zorder=1)
    for index, (summary, cost) in enumerate(shown):
        _draw_point(axes, results, summary, cost, on_front=index in front)
    axes.set_xlabel(COSTS[key])
    _finish_metric_axis(axes, results)
    _readable_cost_axis(axes, [cost for _, cost in shown], key)
    return figure, _name_points(axes, results, [(s.network.label, cost, s.mean) for s, cost in shown])


def _draw_point(axes: Axes, results: Results, summary: Summary, cost: float, *, on_front: bool) -> None:
    label = summary.network.label
    color, marker = plot_styles(results)[label]
    interval = results.interval(summary)
    bars = [[summary.mean - interval[0]], [interval[1] - summary.mean]] if interval else None
    values = summary.values
    seeds = axes.plot(
        [cost] * len(values), values, linestyle="none", marker=marker, markersize=3, color=color, alpha=0.55
    )
    mean, caps, lines = axes.errorbar(
        cost, summary.mean, yerr=bars, color=color, marker=marker, markersize=7, capsize=3, linestyle="none", zorder=3
    )
    _mark(seeds, results, label, "seeds")
    _mark([mean], results, label, "mean")
    _mark([*caps, *lines], results, label, "interval")
    if on_front:
        ring = axes.plot(cost, summary.mean, marker="o", markersize=14, markerfacecolor="none", markeredgecolor=INK,
                         linestyle="none", zorder=2)  # fmt: skip
        _mark(ring, results, label, "ring")


def _finish_metric_axis(axes: Axes, results: Results) -> None:
    axes.set_ylabel(f"test {results.metric.axis_label}")
    axes.margins(x=0.1, y=0.14)
    values = [value for s in results.summaries for value in (*s.values, *s.exit_values)]
    if not results.metric.higher_is_better and max(values) > _WIDE * min(values) > 0:
        set_log_scale(axes.yaxis)  # else one network that fails to train hides the differences of the others
        axes.set_ylim(min(values) / _LOG_MARGIN, max(values) * _LOG_MARGIN)
        return
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))


def _readable_cost_axis(axes: Axes, costs: Sequence[float], key: str) -> None:
    """Make the axis logarithmic beyond a factor of five; do not zoom into nearly equal costs."""
    counts = None if key.endswith("_ms") else EngFormatter(sep="\N{THIN SPACE}")
    if max(costs) > 5 * min(costs):
        set_log_scale(axes.xaxis, counts)
        return
    if counts:
        axes.xaxis.set_major_formatter(counts)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if max(costs) < 1.5 * min(costs):
        middle = (max(costs) + min(costs)) / 2
        axes.set_xlim(0.75 * middle, 1.25 * middle)


def _linked(results: Results) -> list[tuple[Summary, Cost]]:
    """Networks with a known topology and a finite back-propagation distance."""
    costs = [(s, s.network.cost) for s in results.summaries]
    return [(s, cost) for s, cost in costs if cost and cost.links and math.isfinite(cost.max_distance)]


def _distance_plot(results: Results, key: str) -> tuple[Figure, set[str]]:
    """Mean test metric against a back-propagation distance; lines join networks of equal links."""
    figure = Figure(figsize=_SIZE)
    axes = figure.add_subplot()
    linked = [(s, float(getattr(cost, key))) for s, cost in _linked(results)]
    for group, style in zip(equal_links(results.summaries), cycle(("-", "--", ":", "-."))):
        points = sorted((float(getattr(s.network.cost, key)), s.mean) for s in group)
        axes.plot(*zip(*points, strict=True), color=INK, alpha=0.5, linewidth=1, linestyle=style, zorder=1)
        axes.annotate(f"{links_of(group):,} links", points[-1], xytext=(0, -12), textcoords="offset points", ha="right",
                      va="top", fontsize=_LABEL_SIZE, fontstyle="italic", alpha=0.75)  # fmt: skip
    for summary, distance in linked:
        _draw_point(axes, results, summary, distance, on_front=False)
    _readable_cost_axis(axes, [distance for _, distance in linked], key)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel(DISTANCES[key])
    _finish_metric_axis(axes, results)
    return figure, _name_points(axes, results, [(s.network.label, distance, s.mean) for s, distance in linked])


def _exits_plot(results: Results) -> tuple[Figure, set[str]]:
    """Mean test metric of each exit against the operations up to it, a line per network; others are points."""
    figure = Figure(figsize=_SIZE)
    axes = figure.add_subplot()
    every: list[float] = []
    ends: list[tuple[str, float, float]] = []
    for summary in results.summaries:
        if cost := summary.network.cost:
            label = summary.network.label
            color, marker = plot_styles(results)[label]
            macs = cost.exit_macs if summary.exit_values else (cost.macs,)
            line = axes.plot(macs, [*summary.exit_values, summary.mean], color=color, marker=marker, markersize=5)
            _mark(line, results, label, "mean")
            every += macs
            ends.append((label, macs[-1], summary.mean))
    axes.set_xlabel("multiply-accumulates per image until the exit")
    _finish_metric_axis(axes, results)
    _readable_cost_axis(axes, every, "macs")
    return figure, _name_points(axes, results, ends)


def _curves_plot(results: Results, key: str) -> tuple[Figure, set[str]]:
    """Metric or training loss against epochs, mean over seeds with the range of the seeds shaded."""
    figure = Figure(figsize=_SIZE)
    axes = figure.add_subplot()
    for network in results.networks:
        if curve := curve_of(results, network.label, key):
            _draw_curve(axes, results, network.label, curve)
    split = "validation" if has_validation(results) else "training"
    axes.set_ylabel("training loss" if key == "loss" else f"{split} {results.metric.axis_label}")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    if key == "loss" or not results.metric.higher_is_better:
        use_log_scale_if_wide(axes.yaxis)
    return figure, set()


def _draw_curve(axes: Axes, results: Results, label: str, curve: Curve) -> None:
    color = plot_styles(results)[label][0]
    marker = "o" if len(curve.epochs) == 1 else ""
    line = axes.plot(curve.epochs, curve.means, color=color, linewidth=1.6, marker=marker)
    band = axes.fill_between(curve.epochs, curve.lows, curve.highs, color=color, alpha=0.15, linewidth=0)
    _mark(line, results, label, "curve")
    _mark([band], results, label, "band")
