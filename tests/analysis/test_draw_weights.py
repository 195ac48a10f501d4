import matplotlib
import numpy as np
import pytest

from skipweave.analysis.draw import save, to_svg
from skipweave.analysis.draw_weights import cross_norm_bars, reuse_heat_maps
from skipweave.errors import SkipweaveError
from skipweave.models import DelugeNet, SparseNet


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
