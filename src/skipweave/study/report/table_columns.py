"""Columns of the report's tables of networks. What a table should have more gets a `Column` here."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from skipweave.study.comparisons import Comparison, comparisons
from skipweave.study.report.verdict import interval_text
from skipweave.study.results import COSTS, Cost, Results, Summary, cost_of

_RING = ' <span class="front" title="on the Pareto front of this cost">○</span>'
_ENGINES = {
    "torch": "PyTorch",
    "torch_bf16": "PyTorch, bfloat16",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "openvino_bf16": "OpenVINO, bfloat16",
}


class Cell(NamedTuple):
    """A cell: markup, and what the table is sorted by, if anything."""

    markup: str
    value: float | None


@dataclass(frozen=True)
class Column:
    """A column of a table of networks.

    Attributes:
        title: Its heading, with a unit in brackets.
        cell: The cell of a network; None where it has no such value.
    """

    title: str
    cell: Callable[[Summary], Cell | None]


def result_columns(results: Results) -> tuple[Column, ...]:
    """Metric, size and time in PyTorch."""
    fronts = {key: results.front(key) for key in COSTS}
    with_best = {one.network.network.label: one for one in comparisons(results) if _of_best(one, results)}

    def ring(summary: Summary, key: str) -> str:
        return _RING if summary.network.label in fronts[key] else ""

    def count(key: str, text: Callable[[int], str]) -> Column:
        def cell(summary: Summary) -> Cell | None:
            value = cost_of(summary, key)
            return None if value is None else Cell(text(round(value)) + ring(summary, key), value)

        return Column({"parameters": "parameters", "macs": "MACs"}[key], cell)

    def time(title: str, key: str) -> Column:
        first = next((cost for s in results.summaries if (cost := cost_of(s, key))), 1.0)

        def cell(summary: Summary) -> Cell | None:
            value = cost_of(summary, key)
            if value is None:
                return None
            return Cell(f"{value:.2f}{ring(summary, key)} <small>×{value / first:.2f}</small>", value)

        return Column(title, cell)

    unit = f"[{results.metric.unit}]" if results.metric.unit else ""
    return (
        Column(f"test {results.metric.axis_label}", lambda s: _mean_cell(s.mean, results.interval(s))),
        Column(
            f"with test-time augmentation {unit}".rstrip(), lambda s: _mean_cell(s.tta_mean, results.tta_interval(s))
        ),
        Column("difference to the best", lambda s: _difference_cell(with_best.get(s.network.label))),
        count("parameters", lambda number: f"{number:,}"),
        count("macs", short),
        _of_topology("links", lambda cost: Cell(f"{cost.links:,}", cost.links)),
        _of_topology("longest path", lambda cost: Cell(f"{cost.max_distance:g}", cost.max_distance)),
        _of_topology("mean path", lambda cost: Cell(f"{cost.mean_distance:.2f}", cost.mean_distance)),
        time("inference [ms]", "inference_ms"),
        time("training step [ms]", "step_ms"),
    )


def cost_columns(results: Results) -> tuple[Column, ...]:
    """Calibration, memory, time in engines, and what training cost."""
    front = results.front("training_bytes")
    names = dict.fromkeys(name for one in results.timings.values() for name in (*one.engine_ms, *one.engine_failures))
    return (
        Column("calibration error [%]", lambda s: _number(s.calibration_error)),
        Column(
            "training memory [MB]", lambda s: _megabytes(s.network.cost, "training_bytes", s.network.label in front)
        ),
        Column("inference memory [MB]", lambda s: _megabytes(s.network.cost, "inference_bytes")),
        *(_engine(name) for name in names),
        Column("trained in [s]", lambda s: _number(s.train_seconds, "{:,.1f}")),
        Column("processor energy [Wh]", lambda s: _number(s.energy_wh.get("cpu"), "{:.3g}")),
        Column("GPU energy [Wh]", lambda s: _number(s.energy_wh.get("gpu"), "{:.3g}")),
    )


def short(count: int) -> str:
    """A count in short.

    >>> short(1_234_567)
    '1.235 M'
    """
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return str(count)


def _of_topology(title: str, of_cost: Callable[[Cost], Cell]) -> Column:
    def cell(summary: Summary) -> Cell | None:
        cost = summary.network.cost
        return of_cost(cost) if cost and cost.links else None  # no links: the topology is not known

    return Column(title, cell)


def _engine(name: str) -> Column:
    def cell(summary: Summary) -> Cell | None:
        timing = summary.timing
        if timing is None:
            return None
        if reason := timing.engine_failures.get(name):
            return Cell(f'<span class="failed" title="{escape(reason)}">failed</span>', None)
        return _number(timing.engine_ms.get(name))

    return Column(f"{_ENGINES.get(name, name)} [ms]", cell)


def _number(value: float | None, form: str = "{:.2f}") -> Cell | None:
    return None if value is None else Cell(form.format(value), value)


def _megabytes(cost: Cost | None, key: str, on_front: bool = False) -> Cell | None:
    size, ring = getattr(cost, key) if cost else None, _RING if on_front else ""
    return None if size is None else Cell(f"{size / 1e6:{'.3g' if size < 1e8 else ',.0f'}}{ring}", size)


def _of_best(one: Comparison, results: Results) -> bool:
    return one.reference.network.label == results.ranked[0].network.label


def _mean_cell(mean: float | None, interval: tuple[float, float] | None) -> Cell | None:
    if mean is None:
        return None
    return Cell(f"{mean:.2f}" + (f" <small>{interval_text(interval)}</small>" if interval else ""), mean)


def _difference_cell(one: Comparison | None) -> Cell | None:
    if one is None:
        return None
    text = f"{one.difference:+.2f}".replace("-", "\N{MINUS SIGN}")
    if one.p is None:
        return Cell(text, one.difference)
    note = "beyond chance" if one.differs else "undecided" if one.undecided else "within chance"
    kind = "worse" if one.differs else "same"
    return Cell(f'<span class="{kind}">{text} <small>{note}</small></span>', one.difference)
