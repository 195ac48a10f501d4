"""Figures as PNG, SVG and PDF files, equal for equal figures.

Figures are created without pyplot: no global state changes, no window opens, and they are freed like any object.
"""

import io
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from skipweave.files.atomic_write import replacing

_SVG: Any = {"svg.hashsalt": "skipweave", "svg.fonttype": "none"}  # Any: matplotlib types these names one by one
_UNDATED = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def save_figure(figure: Figure, prefix: Path) -> tuple[Path, Path]:
    """Write or replace `<prefix>.png` and `<prefix>.svg`, creating the folder if needed; return both paths."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    png, svg = figure_paths(prefix)
    write_figure(figure, png)
    write_figure(figure, svg)
    return png, svg


def figure_paths(prefix: Path) -> tuple[Path, Path]:
    """The files that `save_figure` writes."""
    return prefix.with_name(prefix.name + ".png"), prefix.with_name(prefix.name + ".svg")


def write_figure(figure: Figure, path: Path) -> None:
    """Write or replace a file that ends in .png, .svg (with text as text) or .pdf."""
    with replacing(path) as temporary, matplotlib.rc_context(_SVG):
        figure.savefig(temporary, format=path.suffix[1:], dpi=150, metadata=_UNDATED.get(path.suffix))


def svg_text(figure: Figure) -> str:
    """The text of a figure as an SVG file, with text as text."""
    file = io.StringIO()
    with matplotlib.rc_context(_SVG):
        figure.savefig(file, format="svg", metadata=_UNDATED[".svg"])
    return file.getvalue()
