import pytest

from skipweave import ledger
from skipweave.analysis.ledger_check import by_network, check, published_error
from skipweave.ledger.own_results import own_results
from tests.ledger_rows import row

NETWORKS = by_network(ledger.rows())
BUILT = [rows for rows in NETWORKS if any(row.is_countable for row in rows)]
SAMPLE = (
    "densenet40_12",
    "sparsenet_sum56",
    "sparsenet121_32",
    "logdensenet_v1_12_16",
    "logdensenet_v2_12_16",
    "loglogdensenet_12_32",
    "fc_densenet67",
    "seqresnet_b_k16_r7_n1",
    "seqresnet_b22",
    "delugenet146",
    "fractalnet20",
    "wide_resnet16_8",
    "torchvision:resnet101",
    "tutorial_mnist",
    "hardnet68",
    "vgg16n",
)
"""One network of each family, and each quantity and paper; the slow tests build all."""


def named(rows):
    changes = "-".join(f"{key}={value}" for key, value in rows[0].overrides.items())
    return f"{rows[0].paper}:{rows[0].model}-{changes}"


def assert_as_stored(rows):
    for result in check(rows):
        if result.row.is_countable:
            assert result.ours is not None, result.reason
            assert result.row.is_expected(result.ours), result
            assert result.verdict == result.row.match, result


@pytest.mark.parametrize("model", SAMPLE)
def test_a_network_of_each_family_has_the_stored_figures(model):
    assert_as_stored(next(rows for rows in BUILT if rows[0].model == model))


def test_the_sample_has_every_quantity_and_paper():
    sample = [next(rows for rows in BUILT if rows[0].model == model) for model in SAMPLE]
    figures = [row for rows in sample for row in rows if row.is_countable]
    assert {row.quantity for row in figures} == {row.quantity for row in ledger.rows() if row.is_countable}
    assert {row.paper for row in figures} == ledger.PAPERS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("rows", [pytest.param(rows, id=named(rows)) for rows in BUILT])
def test_every_network_has_the_stored_figures(rows):
    assert_as_stored(rows)


def test_grouping_loses_no_row():
    assert sum(map(len, NETWORKS)) == len(ledger.rows())


@pytest.mark.parametrize(
    ("changes", "verdict", "has_reason"),
    [
        ({"expected": 367859}, "wrong", False),  # built, not taken from the ledger
        ({"model": "sparsenet_of_tomorrow"}, "open", True),
        ({"model": ""}, "yes", False),  # as counted by hand
        ({"quantity": "error", "expected": None}, "open", True),
    ],
)
def test_what_cannot_be_built_is_compared_as_stored(changes, verdict, has_reason):
    (result,) = check([row(**changes)])
    assert (result.verdict, bool(result.reason)) == (verdict, has_reason)


@pytest.mark.parametrize("result", own_results(), ids=lambda result: result.label)
def test_own_results_have_the_counts_of_their_networks(result):
    network = dict(model=result.model, dataset=result.dataset, overrides=result.overrides)
    figures = (
        row(**network, quantity=quantity, expected=expected)
        for quantity, expected in (("parameters", result.parameters), ("macs", result.macs))
    )
    for compared in check(figures):
        assert compared.row.is_expected(compared.ours), compared


def test_statistics_count_once_per_reader():
    plain, with_statistics = check([row(), row(quantity="parameters_with_statistics")])
    assert with_statistics.ours - plain.ours == 9336  # two per normalized channel


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("sparsenet40_24", "5.13"),
        ("delugenet146", "3.98"),
        ("densenet_bc100_24", ""),  # printed with other units and growth only
        ("torchvision:resnet50", "23.9"),
        ("tutorial_cifar10", ""),
    ],
)
def test_published_error_of_the_own_arguments(name, error):
    assert published_error(name) == error
