import pytest

from skipweave.ledger.efficiency import TRADE_OFFS, own, published
from skipweave.plotting.efficiency_plots import draw_trade_off

PLOTS = {plot.name: plot for plot in TRADE_OFFS}


def drawn(figure):
    """Points of every panel: series to (cost, error)."""
    return [{line.get_label(): list(zip(*line.get_data(), strict=True)) for line in axes.lines} for axes in figure.axes]


def test_a_panel_for_every_known_cost():
    figure = draw_trade_off(PLOTS["sparsenet_imagenet"])
    panels = drawn(figure)
    assert len(panels) == 4
    assert (14.91e6, 22.1) in panels[0]["SparseNet"]
    assert (9.19e9, 22.1) in panels[1]["SparseNet"]
    assert (43.1, 22.1) in panels[2]["SparseNet"]
    assert sum(map(len, panels[0].values())) == 10
    assert sum(map(len, panels[2].values())) == 9  # the pruned network's time is not printed
    assert figure.get_suptitle() == PLOTS["sparsenet_imagenet"].title


def test_own_results_are_series_of_their_own():
    plot = PLOTS["sparsenet_cifar10"]
    (panel,) = drawn(draw_trade_off(plot))
    expected = {point.series: (point.costs["parameters"], point.error) for point in own(plot)}
    assert expected
    for series, place in expected.items():
        assert panel[series] == [place]
    theirs = [series for series in panel if series not in expected]
    assert set(theirs) == {point.series for point in published(plot)}


def test_points_of_a_series_are_joined_in_the_order_of_their_cost():
    (panel,) = drawn(draw_trade_off(PLOTS["sparsenet_depth"]))
    for points in panel.values():
        assert points == sorted(points)


@pytest.mark.parametrize("name", ["log_densenet_cifar100", "channel_sparsity_imagenet"])
def test_costs_over_an_order_of_magnitude_have_a_logarithmic_axis(name):
    assert [axes.get_xscale() for axes in draw_trade_off(PLOTS[name]).axes] == ["log", "log"]
