"""No figure, created here or in the documentation, shows raw math text."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import skipweave
from skipweave.plotting.connections import plot_connections
from skipweave.plotting.error_vs_time import plot_errors
from skipweave.plotting.figure_files import save_figure
from skipweave.plotting.learning_curves import draw_curves, write_curves
from skipweave.plotting.log_axes import set_log_scale
from skipweave.plotting.mask_overlays import plot_masks
from skipweave.plotting.paper_figures import plots
from skipweave.study.report.result_plots import write_plots
from skipweave.study.results import Cost, Epoch, Network, Results, Run, Timing

MINUS = "\N{MINUS SIGN}"
DOCS = Path(__file__).parents[2] / "docs"


def raw(svg: str) -> list[str]:
    """Raw math in the text or comments of an SVG file; paths and styles have no dollar signs."""
    return re.findall(r"[^<>\n]*(?:mathdefault|\$)[^<>\n]*", svg)


def row(epoch: int, loss: float) -> dict[str, float]:
    errors = {"train_top1_error": 50.0 / epoch, "val_top1_error": 60.0 / epoch}
    return {"epoch": epoch, "train_loss": loss, "val_loss": loss, **errors}


@pytest.mark.parametrize("losses", [(0.5,), (0.61, 0.62, 0.63), (0.7, 0.66), (1000, 1, 1e-6), (0.0, 0.0), (0.0, 3.0)])
def test_learning_curves(tmp_path: Path, losses: tuple[float, ...]):
    rows = [row(epoch, loss) for epoch, loss in enumerate(losses, start=1)]
    write_curves(tmp_path / "curves", rows, "top1_error", "top-1 error [%]", "a run")
    svg = (tmp_path / "curves.svg").read_text()
    assert "top-1 error [%]" in svg
    assert not raw(svg)
    assert "cross-entropy" in svg


def test_a_narrow_range_of_losses_is_not_logarithmic_and_has_several_labels():
    for losses in ((1.0, 1.2, 1.9), (2.0, 0.3, 0.01)):
        rows = [row(epoch, loss) for epoch, loss in enumerate(losses, start=1)]
        figure = draw_curves(rows, "top1_error", "", "")
        _, below = figure.axes
        figure.draw_without_rendering()
        low, high = below.get_ylim()
        labeled = [tick for tick in below.yaxis.get_ticklocs() if low <= tick <= high]
        assert below.get_yscale() == ("log" if max(losses) > 3 * min(losses) else "linear")
        assert len(labeled) >= 3


@pytest.mark.parametrize(("spread", "scale"), [(1.0001, 1.0), (4.0, 1e9), (30.0, 1e-4), (1e6, 1e3)])
def test_the_plots_of_a_study(tmp_path: Path, spread: float, scale: float):
    networks, runs, timings = [], [], {}
    for place, name in enumerate(("first", "second")):
        by = scale * spread**place
        counts = max(1, round(by)), max(2, round(7 * by))
        cost = Cost(*counts, 10, 5 + place, 2.25 + place, (counts[1] // 2, counts[1]))
        networks.append(Network(name, "sparsenet40_24", {}, cost))
        curve = tuple(Epoch(epoch, by / epoch, 10 * spread**place / epoch, None) for epoch in (1, 2, 3))
        runs.append(Run(name, 0, name, 3.0 + place, 1.0, curve=curve, exit_values=(9.0,)))
        timings[name] = Timing(by, 2 * by)
    written = write_plots(tmp_path, Results("", tuple(networks), tuple(runs), timings))
    costs, distances = {"parameters", "macs", "inference_ms", "step_ms"}, {"max_distance", "mean_distance"}
    assert {*written} == {*costs, *distances, "exits", "curves", "loss"}
    for text in (*written.values(), *(path.read_text() for path in tmp_path.glob("*.svg"))):
        assert not raw(text)


def test_other_figures(tmp_path: Path):
    network = skipweave.create_model("sparsenet40_24", units=3)
    save_figure(plot_connections(network), tmp_path / "connections")
    for picture in (*plots(network)[0], *plots(skipweave.create_model("delugenet92", units=2))[0]):
        save_figure(picture.draw("a network"), tmp_path / f"{picture.kind}_{len(list(tmp_path.iterdir()))}")
    plot_errors({"fast": (0.001, 30.0), "slow": (1234.5, 20.0)}, tmp_path / "speed.svg")
    labels = torch.zeros(4, 4, dtype=torch.int64)
    figure = plot_masks(torch.zeros(3, 4, 4, dtype=torch.uint8), {"truth": labels}, ["a", "b"], [(0, 0, 0)] * 3)
    save_figure(figure, tmp_path / "exits")
    files = list(tmp_path.glob("*.svg"))
    assert len(files) >= 7
    for path in files:
        assert not raw(path.read_text()), path.name


def test_the_figures_of_the_documentation():
    files = [path for ending in ("svg", "html") for path in DOCS.rglob(f"*.{ending}")]
    assert len(files) > 40
    shown = {path: re.sub("<script>.*?</script>", "", path.read_text(), flags=re.DOTALL) for path in files}
    assert not [str(path) for path, text in shown.items() if raw(text)]


@pytest.mark.parametrize("name", ["x", "y"])
def test_a_logarithmic_axis_has_labels_for_any_range(name: str):
    rng = np.random.default_rng(0)
    for _ in range(12):
        low = 10 ** rng.uniform(-6, 9)
        values = [low, low * 10 ** rng.uniform(0.001, 6)]
        figure = Figure()
        axes = figure.add_subplot()
        axes.plot(values, values)
        axis = getattr(axes, f"{name}axis")
        set_log_scale(axis)
        figure.draw_without_rendering()
        shown = [label.get_text() for label in axis.get_ticklabels() if label.get_text()]
        assert shown, values
        assert not any("$" in label for label in shown)
        assert any(values[0] * 0.5 <= float(label.replace(MINUS, "-")) <= values[1] * 2 for label in shown)
