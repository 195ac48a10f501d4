"""Plots of published errors against costs, with our own results."""

from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, StrMethodFormatter

from skipweave.ledger.efficiency import COSTS, Cost, Point, TradeOff, own, published
from skipweave.plotting.log_axes import set_log_scale
from skipweave.plotting.series_styles import series_style

_AXIS_LABELS: dict[Cost, str] = {
    "parameters": "parameters",
    "operations": "operations, as the paper counts them",
    "printed_ms": "inference time [ms], printed (GPU)",
    "measured_ms": "inference time [ms], our CPU",
}
_FEWEST = 5  # networks on a panel
_MOST_LABELS = 12  # networks on a plot with names


def draw_trade_off(plot: TradeOff) -> Figure:
    """Draw errors against every cost that is known of several networks, a panel each.

    Networks of a family are joined by a line; stars are networks trained with this library.
    """
    theirs, ours = published(plot), own(plot)
    costs = [cost for cost in COSTS if sum(cost in point.costs for point in theirs) >= _FEWEST]
    with rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(1.0 + 4.2 * len(costs), 4.8), layout="constrained")
        panels = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
        for axes, cost in zip(panels, costs, strict=True):
            _draw(axes, cost, theirs, ours)
        panels[0].set_ylabel("top-1 error [%]")
        handles = {
            label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.suptitle(plot.title, fontsize=11)
        columns = min(len(handles), 2 * len(costs))
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=columns, fontsize=8.5, frameon=False)
    return figure


def _draw(axes: Axes, cost: Cost, theirs: Sequence[Point], ours: Sequence[Point]) -> None:
    names = dict.fromkeys(point.series for point in theirs)
    labeled = len(theirs) <= _MOST_LABELS
    for index, series in enumerate(names):
        color, marker = series_style(index)
        points = [point for point in theirs if point.series == series and cost in point.costs]
        if points:
            _draw_series(axes, cost, points, labeled, color=color, marker=marker, markersize=5, linewidth=1, alpha=0.85)
    for series in dict.fromkeys(point.series for point in ours):
        points = [point for point in ours if point.series == series and cost in point.costs]
        if points:
            _draw_series(axes, cost, points, True, color="#1b1b1d", marker="*", markersize=12, linestyle="none")
    values = [point.costs[cost] for point in (*theirs, *ours) if cost in point.costs]
    _set_scale(axes, cost, values)
    axes.set_xlabel(_AXIS_LABELS[cost])
    axes.margins(x=0.12, y=0.08)
    axes.grid(alpha=0.15)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_series(axes: Axes, cost: Cost, points: Sequence[Point], labeled: bool, **style: Any) -> None:
    ordered = sorted(points, key=lambda point: point.costs[cost])
    axes.plot([p.costs[cost] for p in ordered], [p.error for p in ordered], label=points[0].series, **style)
    for point in ordered if labeled else ():
        place = (point.costs[cost], point.error)
        axes.annotate(point.label, place, xytext=(4, 4), textcoords="offset points", fontsize=7, alpha=0.8)


def _set_scale(axes: Axes, cost: Cost, values: Sequence[float]) -> None:
    """Make the axis logarithmic beyond a factor of five."""
    count = cost in ("parameters", "operations")
    formatter = EngFormatter(sep="\N{THIN SPACE}") if count else StrMethodFormatter("{x:g}")
    if max(values) > 5 * min(values):
        set_log_scale(axes.xaxis, formatter)
    else:
        axes.xaxis.set_major_formatter(formatter)
