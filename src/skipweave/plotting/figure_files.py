"""Figures as PNG, SVG and PDF files, equal for equal figures.

Figures are created without pyplot: no global state changes, no window opens, and they are freed like any object.
"""

import io
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure


def to_svg(figure: Figure) -> str:
    """Return a figure as SVG text for an HTML page."""
    with _reproducible_svg(), io.StringIO() as text:
        figure.savefig(text, format="svg", metadata={"Date": None})
        return text.getvalue()[text.getvalue().index("<svg") :]


def save_figure(figure: Figure, prefix: Path) -> tuple[Path, Path]:
    """Write or replace `<prefix>.png` and `<prefix>.svg`, creating the folder if needed; return both paths."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    png, svg = (prefix.with_name(prefix.name + ending) for ending in (".png", ".svg"))
    write_figure(figure, png, "png")
    write_figure(figure, svg, "svg")
    return png, svg


def write_figure(figure: Figure, path: Path, form: str) -> None:
    """Write a figure to one file.

    Args:
        figure: The figure.
        path: File to write or replace.
        form: "png", "svg" or "pdf".
    """
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with _reproducible_svg():
        figure.savefig(path, format=form, dpi=150, metadata=undated.get(form))


def _reproducible_svg() -> AbstractContextManager[None]:
    """Context in which equal figures produce equal SVG files, with text as text."""
    return matplotlib.rc_context({"svg.hashsalt": "skipweave", "svg.fonttype": "none"})
