import matplotlib
import numpy as np
import pytest

from skipweave.analysis.link_weights import GroupMap
from skipweave.errors import SkipweaveError
from skipweave.models import DelugeNet, SparseNet
from skipweave.plotting.connections import save, to_svg, write
from skipweave.plotting.link_weight_plots import cross_norm_bars, group_heat_maps, reuse_heat_maps


def test_a_bar_a_node_that_is_read():
    stages = [np.array([1.0, 0.5]), np.array([0.25, np.nan, 1.0])]
    first, second = cross_norm_bars(stages, title="norms").axes
    assert [bar.get_width() for bar in first.patches] == [1.0, 0.5]
    assert [(bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in second.patches] == [(0.25, 0), (1.0, 2)]
    assert second.get_title() == "after stage 2"


def test_rows_are_sources_and_columns_what_is_made():
    values = np.array([[1.0, 0.5], [np.nan, 1.0]])
    axes = reuse_heat_maps([values]).axes[0]
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array().filled(np.nan), values)
    assert image.get_extent() == [0.5, 2.5, 1.5, -0.5]  # columns 1 and 2, rows 0 and 1 from the top
    assert image.get_clim() == (0, 1)


@pytest.mark.parametrize(
    ("draw", "network"), [(cross_norm_bars, DelugeNet), (reuse_heat_maps, SparseNet)], ids=["norms", "reuse"]
)
def test_networks_are_drawn(tmp_path, draw, network):
    before = dict(matplotlib.rcParams)
    figure = draw(network(units=4), title="a net")
    assert figure.get_suptitle() == "a net"
    assert "stage 3" in to_svg(figure)
    assert all(path.stat().st_size > 5000 for path in save(figure, tmp_path / "picture"))
    assert dict(matplotlib.rcParams) == before


def test_other_networks_are_refused():
    with pytest.raises(SkipweaveError, match="no cross-layer convolution"):
        cross_norm_bars(SparseNet(units=2))


def test_a_row_a_group_and_a_line_before_the_layers_own():
    values = np.array([[1.0, 0.5, np.nan], [np.nan, 0.5, 1.0]])
    figure = group_heat_maps([GroupMap("a layer", 2, values)] * 4)
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 4
    (image,) = panels[0].images
    np.testing.assert_array_equal(image.get_array().filled(np.nan), values)
    assert image.get_extent() == [-1.5, 1.5, 2.5, 0.5]  # groups -1, 0 and 1; rows 1 and 2 from the top
    assert panels[0].lines[0].get_xdata() == [0.5, 0.5]
    assert panels[0].get_title() == "a layer"
    assert [axes.get_xlabel() for axes in panels] == ["", *["group that is read (own from 1)"] * 3]


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_a_figure_is_written_the_same_each_time(tmp_path, form):
    for name in ("first", "second"):
        write(cross_norm_bars([np.array([1.0, 0.5])]), tmp_path / name, form)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
