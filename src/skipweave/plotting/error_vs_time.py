"""Plot of published errors against measured inference times."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from skipweave.plotting.figure_files import write_figure


def plot_errors(networks: Mapping[str, tuple[float, float]], path: Path) -> None:
    """Plot published errors against measured times, one point per network."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for name, (ms, error) in networks.items():
        axes.plot(ms, error, "o", color="#2f7ed8")
        axes.annotate(name, (ms, error), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.set_xlabel("inference time [ms/image, fastest case measured]")
    axes.set_ylabel("published error [%]")
    axes.margins(0.15)
    axes.grid(alpha=0.15)
    write_figure(figure, path)
