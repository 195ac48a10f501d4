"""Extension of Sphinx: the directive `model-table`, whose table static/model_table.js sorts and filters."""

from html import escape

from docutils import nodes
from model_rows import PUBLISHED, Figure, ModelRow, model_rows
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

HEADER = ("model", "family", "input, px", "parameters, M", "MACs, G", *PUBLISHED, "own error", "time, ms")


class ModelTable(SphinxDirective):
    """The table of all registered models."""

    def run(self) -> list[nodes.Node]:
        """Return the table as HTML."""
        header = "".join(f'<th scope="col">{escape(title)}</th>' for title in HEADER)
        body = "\n".join(_row(row) for row in model_rows())
        table = f"<table><thead><tr>{header}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
        html = f'<div id="model-table" class="wide-table">{table}</div>'
        return [nodes.raw("", html, format="html")]


def _row(row: ModelRow) -> str:
    entry = row.entry
    cells = [
        f"<td><code>{entry.name}</code></td>",
        f"<td>{entry.family}</td>",
        _number(str(entry.input_size[-1]), entry.input_size[-1]),
        _number(f"{entry.parameters / 1e6:.2f}", entry.parameters / 1e6),
        _number(f"{entry.macs / 1e9:.3f}", entry.macs / 1e9),
        *(_figures(row.published[column]) for column in PUBLISHED),
        _figures(row.own),
        "<td></td>" if row.time is None else _number(f"{row.time:.0f}", row.time),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _number(text: str, value: float) -> str:
    return f'<td data-value="{value}">{text}</td>'


def _figures(figures: tuple[Figure, ...]) -> str:
    """Figures with their sources as tooltips; sorted by the first."""
    if not figures:
        return "<td></td>"
    texts = ", ".join(f'<span title="{escape(figure.source)}">{figure.text}</span>' for figure in figures)
    return f'<td data-value="{figures[0].text}">{texts}</td>'


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("model-table", ModelTable)
    return {"parallel_read_safe": True}
