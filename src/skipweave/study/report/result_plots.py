"""The study's plots: the metric against each cost with the Pareto front, and learning curves."""

import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, StrMethodFormatter

from skipweave.plotting.figure_files import save_figure
from skipweave.plotting.log_axes import set_log_scale
from skipweave.plotting.series_styles import series_style
from skipweave.study.report.distance_ordering import equal_links, links_of
from skipweave.study.results import COSTS, Cost, Results, Summary, cost_of, pareto_front

#: Text and lines; paper. The report replaces these exact colors by the page's own, light or dark.
INK, PAPER = "#1b1b1d", "#fffffd"

_DISTANCES = {
    "max_distance": "maximum back-propagation distance [links]",
    "mean_distance": "mean back-propagation distance [links]",
}

_STYLE: Any = {  # Any: matplotlib types these names one by one
    "text.parse_math": False,  # labels are the user's
    "font.family": "sans-serif",
    "font.size": 10.5,
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
    "savefig.facecolor": PAPER,
    "xtick.color": INK,
    "ytick.color": INK,
}


def write_plots(folder: Path, results: Results) -> dict[str, Path]:
    """Draw every plot that the results allow as SVG and PNG.

    Returns:
        Key (`parameters`, `macs`, `inference_ms`, `step_ms`, `distance`, `exits`, `curves`) to the SVG's path, in the
        report's order.
    """
    written = {}
    for key in COSTS:
        if any(cost_of(s, key) is not None for s in results.summaries):
            written[key] = _save(_cost_plot, folder / f"{results.metric.name}_vs_{key}", results, key)
    if len({(cost.max_distance, cost.mean_distance) for _, cost in _linked(results)}) > 1:
        written["distance"] = _save(_distance_plot, folder / f"{results.metric.name}_vs_distance", results)
    if any(s.exit_values for s in results.summaries):
        written["exits"] = _save(_exits_plot, folder / f"{results.metric.name}_vs_exits", results)
    if any(run.curve for run in results.runs):
        written["curves"] = _save(_curves_plot, folder / "learning_curves", results)
    return written


def _save(draw: Any, path: Path, *args: Any) -> Path:
    with rc_context(_STYLE):
        figure = draw(*args)
        return save_figure(figure, path)[1]


def plot_styles(results: Results) -> dict[str, tuple[str, str]]:
    """Color and marker of each network, the same in every plot."""
    return {network.label: series_style(index) for index, network in enumerate(results.networks)}


def _cost_plot(results: Results, key: str) -> Figure:
    """Mean test metric against one cost: every seed small, mean large with its interval, the front as a step line."""
    figure = Figure(figsize=(6.4, 4.4))
    axes = figure.add_subplot()
    shown = [(s, cost) for s in results.summaries if (cost := cost_of(s, key)) is not None]
    front = pareto_front([(cost, results.metric.rank(s.mean)) for s, cost in shown])
    _draw_front(axes, [(shown[i][1], shown[i][0].mean) for i in front])
    for index, (summary, cost) in enumerate(shown):
        _draw_point(axes, results, summary, cost, on_front=index in front)
    axes.set_xlabel(COSTS[key])
    axes.set_ylabel(f"test {results.metric.axis_label}")
    _readable_cost_axis(axes, [cost for _, cost in shown], key)
    axes.margins(x=0.08, y=0.12)
    axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
    figure.legend(loc="outside upper center", ncols=3, fontsize=9.5)
    return figure


def _draw_front(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """The staircase beyond which no network of the study lies."""
    costs, values = zip(*points, strict=True)
    axes.step(costs, values, where="post", color=INK, linewidth=1, linestyle="--", alpha=0.6, zorder=1)
    axes.plot([], [], color=INK, linestyle="--", linewidth=1, marker="o", markersize=11, markerfacecolor="none",
              label="Pareto front")  # fmt: skip


def _draw_point(axes: Axes, results: Results, summary: Summary, cost: float, *, on_front: bool) -> None:
    color, marker = plot_styles(results)[summary.network.label]
    interval = results.interval(summary)
    bars = [[summary.mean - interval[0]], [interval[1] - summary.mean]] if interval else None
    values = summary.values
    axes.plot([cost] * len(values), values, linestyle="none", marker=marker, markersize=3.5, color=color, alpha=0.55)
    axes.errorbar(cost, summary.mean, yerr=bars, color=color, marker=marker, markersize=7, capsize=4,
                  linestyle="none", label=summary.network.label, zorder=3)  # fmt: skip
    if on_front:
        axes.plot(cost, summary.mean, marker="o", markersize=14, markerfacecolor="none", markeredgecolor=INK,
                  linestyle="none", zorder=2)  # fmt: skip


def _readable_cost_axis(axes: Axes, costs: Sequence[float], key: str) -> None:
    """Make the axis logarithmic beyond a factor of five; do not zoom into nearly equal costs."""
    counts = EngFormatter(sep="\N{THIN SPACE}") if key in ("parameters", "macs") else None
    if max(costs) > 5 * min(costs):
        set_log_scale(axes.xaxis, counts)
        return
    if counts:
        axes.xaxis.set_major_formatter(counts)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    if max(costs) < 1.5 * min(costs):
        middle = (max(costs) + min(costs)) / 2
        axes.set_xlim(0.75 * middle, 1.25 * middle)


def _linked(results: Results) -> list[tuple[Summary, Cost]]:
    """Networks with a known topology and a finite back-propagation distance."""
    costs = [(s, s.network.cost) for s in results.summaries]
    return [(s, cost) for s, cost in costs if cost and cost.links and math.isfinite(cost.max_distance)]


def _distance_plot(results: Results) -> Figure:
    """Mean test metric against maximum and mean back-propagation distance; lines join networks of equal links."""
    figure = Figure(figsize=(9.0, 4.4))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (key, label) in zip(panels, _DISTANCES.items(), strict=True):
        for group, style in zip(equal_links(results.summaries), cycle(("-", "--", ":", "-."))):
            points = sorted((getattr(s.network.cost, key), s.mean) for s in group)
            axes.plot(*zip(*points, strict=True), color=INK, alpha=0.5, linewidth=1, linestyle=style, zorder=1,
                      label=f"{links_of(group):,} links")  # fmt: skip
        for summary, cost in _linked(results):
            _draw_point(axes, results, summary, getattr(cost, key), on_front=False)
        _readable_cost_axis(axes, [getattr(cost, key) for _, cost in _linked(results)], key)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.margins(x=0.08, y=0.12)
        axes.set_xlabel(label)
    panels[0].set_ylabel(f"test {results.metric.axis_label}")
    panels[0].set_ylim(bottom=max(0.0, panels[0].get_ylim()[0]))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=9.5)
    return figure


def _exits_plot(results: Results) -> Figure:
    """Mean test metric of each exit against the operations up to it, a line per network; others are points."""
    figure = Figure(figsize=(6.4, 4.4))
    axes = figure.add_subplot()
    every: list[float] = []
    for summary in results.summaries:
        if cost := summary.network.cost:
            color, marker = plot_styles(results)[summary.network.label]
            macs = cost.exit_macs if summary.exit_values else (cost.macs,)
            axes.plot(macs, [*summary.exit_values, summary.mean], color=color, marker=marker, markersize=5,
                      label=summary.network.label)  # fmt: skip
            every += macs
    axes.set_xlabel("multiply-accumulates per image until the exit")
    axes.set_ylabel(f"test {results.metric.axis_label}")
    _readable_cost_axis(axes, every, "macs")
    figure.legend(loc="outside upper center", ncols=3, fontsize=9.5)
    return figure


def _curves_plot(results: Results) -> Figure:
    """Metric and training loss against epochs, mean over seeds with the range of the seeds shaded."""
    figure = Figure(figsize=(6.4, 7.2))
    above, below = figure.subplots(2, 1, sharex=True)
    has_validation = any(e.val_value is not None for run in results.runs for e in run.curve)
    for network in results.networks:
        points = [e for run in results.runs if run.label == network.label for e in run.curve]
        color = plot_styles(results)[network.label][0]
        _draw_curve(above, [(e.epoch, e.val_value if has_validation else e.train_value) for e in points], color)
        _draw_curve(below, [(e.epoch, e.train_loss) for e in points], color, network.label)
    above.set_ylabel(f"{'validation' if has_validation else 'training'} {results.metric.axis_label}")
    below.set_ylabel("training loss")
    below.set_xlabel("epoch")
    below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes in (below,) if results.metric.higher_is_better else (above, below):
        if math.isfinite(axes.dataLim.minposy):  # else all values are zero, which have no logarithm
            set_log_scale(axes.yaxis)
    figure.legend(loc="outside upper center", ncols=3, fontsize=9.5)
    return figure


def _draw_curve(axes: Axes, points: Sequence[tuple[int, float | None]], color: str, label: str = "") -> None:
    """Mean of the values at each epoch, over the seeds that reached it; the band is their range."""
    at: dict[int, list[float]] = {}
    for epoch, value in points:
        if value is not None:
            at.setdefault(epoch, []).append(value)
    epochs = sorted(at)
    marker = "o" if len(epochs) == 1 else ""
    axes.plot(epochs, [fmean(at[e]) for e in epochs], color=color, linewidth=1.6, marker=marker, label=label)
    low, high = ([pick(at[e]) for e in epochs] for pick in (min, max))
    axes.fill_between(epochs, low, high, color=color, alpha=0.15, linewidth=0)
