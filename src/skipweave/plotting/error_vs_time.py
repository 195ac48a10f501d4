"""A picture of errors against times."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from skipweave.plotting.connections import write


def draw_errors(networks: Mapping[str, tuple[float, float]], path: Path) -> None:
    """Draw printed errors against measured times, a point a network.

    Args:
        networks: Milliseconds an image and error in percent, by name.
        path: Of the SVG file.
    """
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for name, (ms, error) in networks.items():
        axes.plot(ms, error, "o", color="#2f7ed8")
        axes.annotate(name, (ms, error), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.set_xlabel("inference [ms an image, the fastest way that was measured]")
    axes.set_ylabel("error that the papers print [%]")
    axes.margins(0.15)
    axes.grid(alpha=0.15)
    write(figure, path, "svg")
