"""The report's cards: of each network its commands, confusions, mistakes and connections."""

import shlex
from collections.abc import Mapping
from html import escape
from pathlib import Path

from skipweave.study.report.class_tables import confusions
from skipweave.study.report.inline_svg import inline_svg
from skipweave.study.report.mistake_gallery import mistake_gallery
from skipweave.study.report.result_table import described, index_of, labeled
from skipweave.study.report.table_columns import short
from skipweave.study.results import Results, Summary
from skipweave.training.tasks.task import Data

_MOST_PICTURES = 500_000  # bytes of all connection pictures of a page


def card_section(results: Results, data: Data, folder: Path, pictures: Mapping[str, Path]) -> str:
    """A card for each finished network, best first; that of the best is open.

    Args:
        results: The results.
        data: The dataset.
        folder: The study directory, in which the runs are.
        pictures: SVG file of the connections, by label.
    """
    drawn = _connections(results, pictures)
    cards = []
    for place, summary in enumerate(results.ranked):
        label = summary.network.label
        known = "" if summary.confusion is None else confusions(summary.confusion, data.classes)
        parts = (_commands(results, summary, folder), known, mistake_gallery(summary, data), drawn.get(label, ""))
        body = "".join(f"<div>{part}</div>" for part in parts if part)
        cards.append(
            f'<details class="card"{" open" if place == 0 else ""} id="card-{index_of(results, label)}">'
            f"<summary>{labeled(results, label)} <small>{_headline(results, summary)}</small></summary>"
            f'<div class="parts">{body}</div></details>'
        )
    return f"<h2>Models</h2>{''.join(cards)}" if cards else ""


def _headline(results: Results, summary: Summary) -> str:
    cost = summary.network.cost
    size = f", {short(cost.parameters)} parameters" if cost else ""
    return escape(f"{results.metric.text(summary.mean)}{size}")


def _commands(results: Results, summary: Summary, folder: Path) -> str:
    """How to predict with the network of the first finished seed, and to export it."""
    run = next(run for run in results.runs if run.label == summary.network.label and run.value is not None)
    path = shlex.quote(str(folder / run.run_dir))
    output = shlex.quote(f"exported/{Path(run.run_dir).parts[1]}") if len(Path(run.run_dir).parts) > 1 else "exported"
    lines = (f"skipweave predict IMAGES --run {path}", f"skipweave export {path} --output {output} --formats onnx")
    commands = "".join(f'<pre class="command">{escape(line)}</pre>' for line in lines)
    note = f"<p class='note'><code>{escape(described(summary.network))}</code>, seed {run.seed}:</p>"
    return f"<h4>Predict and export</h4>{note}{commands}"


def _connections(results: Results, pictures: Mapping[str, Path]) -> dict[str, str]:
    """The pictures of all networks, as far as they are small enough for a page; of the others, where they are."""
    found: dict[str, str] = {}
    left = _MOST_PICTURES
    for label in (summary.network.label for summary in results.ranked if summary.network.label in pictures):
        file = pictures[label]
        svg = inline_svg(
            file.read_text(encoding="utf-8"), f"c{index_of(results, label)}-", f"Connections of {label}", {}
        )
        left -= len(svg)
        shown = f'<figure class="connections">{svg}</figure>' if left > 0 else f"<p>{escape(file.name)} in plots/</p>"
        found[label] = f"<h4>Connections</h4>{shown}"
    return found
