"""The plots on the page, each with its heading, and what its marks show when pointed at."""

from collections.abc import Mapping
from html import escape

from skipweave.study.report.curves import CURVES, curve_of, has_validation
from skipweave.study.report.inline_svg import inline_svg
from skipweave.study.report.result_plots import DISTANCES, INK, PAPER
from skipweave.study.report.table_columns import short
from skipweave.study.report.verdict import mean_text
from skipweave.study.results import COSTS, Network, Results, Summary, cost_of

#: What plots draw in neutral colors takes the page's own, light or dark.
_PAGE_COLORS = {INK: "currentColor", PAPER: "var(--paper)"}

_HEADINGS = {
    "parameters": "Parameters",
    "macs": "Operations",
    "training_bytes": "Training memory",
    "inference_ms": "Inference time",
    "step_ms": "Training time",
    "max_distance": "Maximum back-propagation distance",
    "mean_distance": "Mean back-propagation distance",
    "exits": "Early exits",
    "loss": "Training loss",
}


def gallery(results: Results, plots: Mapping[str, str]) -> str:
    """All plots under one heading; nothing where none was drawn."""
    if not plots:
        return ""
    notes = "".join(f"<li>{escape(note)}</li>" for note in _notes(results, plots))
    figures = "".join(_figure(results, key, svg) for key, svg in plots.items())
    return f'<h2>Plots</h2><ul class="notes">{notes}</ul><div class="plots">{figures}</div>'


def _notes(results: Results, plots: Mapping[str, str]) -> list[str]:
    better = "Higher" if results.metric.higher_is_better else "Lower"
    intervals = ", with its 95 % interval" if results.spread else ""
    notes = [f"Small marks are single runs, large ones their mean{intervals}. {better} and further left is better."]
    if any(key in plots for key in COSTS):
        notes.append("Ringed models lie on the Pareto front, the dashed line is its staircase.")
    if any(key in plots for key in DISTANCES):
        notes.append(
            "Back-propagation distance: links on the shortest way back between two nodes of the network, the most of "
            "any two and the mean of all. Lines join models that differ only in what is read."
        )
    if "exits" in plots:
        notes.append("Early exits: mean over seeds of each exit, the last head at the right.")
    if any(key in plots for key in CURVES):
        notes.append("Learning curves: mean over seeds; the shaded band is their range.")
    return notes


def _figure(results: Results, key: str, svg: str) -> str:
    heading = _HEADINGS.get(key) or f"{'Validation' if has_validation(results) else 'Training'} {results.metric.label}"
    tips = [_tip(results, network, key) for network in results.networks]
    curves = {
        index: " ".join(f"{epoch}:{mean:.4g}" for epoch, mean in zip(curve.epochs, curve.means, strict=True))
        for index, network in enumerate(results.networks)
        if key in CURVES and (curve := curve_of(results, network.label, key))
    }
    drawn = inline_svg(svg, f"{key}-", heading, _PAGE_COLORS, tips, curves)
    return f'<figure class="plot"><figcaption>{escape(heading)}</figcaption>{drawn}</figure>'


def _tip(results: Results, network: Network, key: str) -> str:
    """The name of a network, and in plots of a cost what it costs and its metric, line by line."""
    summary = next((s for s in results.summaries if s.network.label == network.label), None)
    if summary is None or key in CURVES:
        return network.label
    mean = mean_text(summary.mean, results.interval(summary), results)
    lines = [network.label, f"test {results.metric.label} {mean}"]
    if len(summary.values) > 1:
        lines.append(f"seeds: {', '.join(f'{value:.2f}' for value in summary.values)}")
    return "\n".join([*lines, _cost_text(summary, key)]).rstrip()


def _cost_text(summary: Summary, key: str) -> str:
    cost = summary.network.cost
    if key in DISTANCES and cost:
        return f"{_HEADINGS[key].lower()} {getattr(cost, key):.4g}"
    if key == "exits" and summary.exit_values:
        return f"exits: {', '.join(f'{value:.2f}' for value in summary.exit_values)}"
    value = cost_of(summary, key) if key in COSTS else None
    if value is None:
        return ""
    return f"{value:.2f} ms per batch" if key.endswith("_ms") else f"{short(round(value))} {_UNITS[key]}"


_UNITS = {
    "parameters": "parameters",
    "macs": "multiply-accumulates per image",
    "training_bytes": "bytes in a training step",
}
