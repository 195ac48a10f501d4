import csv
from importlib import resources

import pytest

from skipweave.ledger import INPUT_SIZES, PAPERS, rows
from skipweave.ledger.efficiency import COSTS, TRADE_OFFS, own, published
from skipweave.ledger.own_results import own_results

PLOTS = {plot.name: plot for plot in TRADE_OFFS}


@pytest.mark.parametrize("plot", TRADE_OFFS, ids=lambda plot: plot.name)
def test_every_plot_has_errors_and_costs(plot):
    points = published(plot)
    assert plot.paper in PAPERS
    assert plot.dataset in INPUT_SIZES
    assert len(points) >= 5
    assert len({(point.series, point.label, point.error) for point in points}) == len(points)
    for point in points:
        assert 0 < point.error < 100
        assert point.costs.keys() <= set(COSTS)


def test_a_network_of_table_4_has_the_printed_costs():
    (point,) = [p for p in published(PLOTS["sparsenet_imagenet"]) if (p.series, p.label) == ("SparseNet", "201-48")]
    assert point.error == 22.1
    assert point.costs["measured_ms"] > 0
    assert {cost: value for cost, value in point.costs.items() if cost != "measured_ms"} == {
        "parameters": 14.91e6,
        "operations": 9.19e9,
        "printed_ms": 43.1,
    }


def test_parameters_that_the_paper_does_not_print_are_counted():
    points = {(p.series, p.label): p.costs for p in published(PLOTS["log_densenet_cifar10"])}
    assert points["LD2 (Table 1)", "(52,24)"] == {"operations": 5.35e9, "parameters": 9244042}
    assert points["N (Table 2)", "(52,16)"] == {"operations": 4.34e9}


def test_accuracies_are_plotted_as_errors():
    points = {(p.series, p.label): p for p in published(PLOTS["channel_sparsity_imagenet"])}
    point = points["sparse", ".10"]
    assert point.error == pytest.approx(32.8)
    assert point.costs == {"parameters": 2.3e6, "operations": 628e6}


@pytest.mark.parametrize(
    ("plot", "series", "labels"),
    [
        ("sparsenet_depth", "SparseNet[+]", ["depth 56", "depth 110", "depth 200", "depth 1001", "depth 2000"]),
        ("sparsenet_depth", "DenseNet-BC, k=4", ["depth 400", "depth 1001"]),
        ("seqconv_imagenet", "SeqResNet-B", ["42", "22"]),
        ("seqconv_imagenet", "SeqResNet-B, 100 epochs", ["22", "42"]),
        ("delugenet_imagenet", "Wide-ResNet", ["50"]),
    ],
)
def test_families_and_their_members(plot, series, labels):
    assert sorted(p.label for p in published(PLOTS[plot]) if p.series == series) == sorted(labels)


def test_own_results_are_on_the_plots_of_their_dataset():
    for result in own_results():
        plot = next(plot for plot in TRADE_OFFS if (plot.paper, plot.dataset) == ("sparsenet", result.dataset))
        (point,) = [point for point in own(plot) if point.label == result.label]
        assert point.error == result.error
        assert point.costs == {"parameters": result.parameters, "operations": 2 * result.macs}
    assert own(PLOTS["log_densenet_svhn"]) == ()


def test_measured_times_are_of_networks_with_a_printed_time():
    lines = csv.DictReader(resources.files("skipweave.ledger").joinpath("measured_times.csv").read_text().splitlines())
    assert [line["model"] for line in lines] == [row.model for row in rows("sparsenet") if row.quantity == "time"]
