import matplotlib
import numpy as np
import pytest

from skipweave.analysis.link_weights import GroupMap
from skipweave.models import DelugeNet, SparseNet
from skipweave.plotting.figure_files import save_figure, write_figure
from skipweave.plotting.link_weight_plots import plot_cross_norms, plot_groups, plot_reuse
from tests.errors import raises


def test_one_bar_per_source():
    stages = [np.array([1.0, 0.5]), np.array([0.25, np.nan, 1.0])]
    first, second = plot_cross_norms(stages, title="norms").axes
    assert [bar.get_width() for bar in first.patches] == [1.0, 0.5]
    assert [(bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in second.patches] == [(0.25, 0), (1.0, 2)]
    assert second.get_title() == "after stage 2"


def test_rows_are_sources_and_columns_are_outputs():
    values = np.array([[1.0, 0.5], [np.nan, 1.0]])
    axes = plot_reuse([values]).axes[0]
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array().filled(np.nan), values)
    assert image.get_extent() == [0.5, 2.5, 1.5, -0.5]  # columns 1 and 2, rows 0 and 1 from the top
    assert image.get_clim() == (0, 1)


@pytest.mark.parametrize(
    ("draw", "network"), [(plot_cross_norms, DelugeNet), (plot_reuse, SparseNet)], ids=["norms", "reuse"]
)
def test_networks_are_plotted(tmp_path, draw, network):
    before = dict(matplotlib.rcParams)
    figure = draw(network(units=4), title="a net")
    assert figure.get_suptitle() == "a net"
    png, svg = save_figure(figure, tmp_path / "picture")
    assert "stage 3" in svg.read_text(encoding="utf-8")
    assert png.stat().st_size > 5000
    assert dict(matplotlib.rcParams) == before


def test_other_networks_raise():
    with raises("DelugeNet"):
        plot_cross_norms(SparseNet(units=2))


def test_one_row_per_group_and_a_line_before_the_own_groups():
    values = np.array([[1.0, 0.5, np.nan], [np.nan, 0.5, 1.0]])
    figure = plot_groups([GroupMap("a layer", 2, values)] * 4)
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 4
    (image,) = panels[0].images
    np.testing.assert_array_equal(image.get_array().filled(np.nan), values)
    assert image.get_extent() == [-1.5, 1.5, 2.5, 0.5]  # groups -1, 0 and 1; rows 1 and 2 from the top
    assert panels[0].lines[0].get_xdata() == [0.5, 0.5]
    assert panels[0].get_title() == "a layer"
    assert [axes.get_xlabel() for axes in panels] == ["", *["source group (own from 1)"] * 3]


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_equal_figures_have_equal_files(tmp_path, form):
    for name in ("first", "second"):
        write_figure(plot_cross_norms([np.array([1.0, 0.5])]), tmp_path / f"{name}.{form}")
    assert (tmp_path / f"first.{form}").read_bytes() == (tmp_path / f"second.{form}").read_bytes()
