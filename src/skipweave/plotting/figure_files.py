"""Figures as PNG, SVG and PDF files, equal for equal figures.

Figures are created without pyplot: no global state changes, no window opens, and they are freed like any object.
"""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from skipweave.files.atomic_write import replacing

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
    with replacing(path) as temporary, matplotlib.rc_context({"svg.hashsalt": "skipweave", "svg.fonttype": "none"}):
        figure.savefig(temporary, format=path.suffix[1:], dpi=150, metadata=_UNDATED.get(path.suffix))
