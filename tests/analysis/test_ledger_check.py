import pytest

from skipweave import ledger
from skipweave.analysis.ledger_check import Check, by_network, check, why_not_built
from skipweave.ledger import Row

QUICK = ("depth multiplier .05",)

NETWORKS = by_network(ledger.rows())
BUILT = [rows for rows in NETWORKS if any(not why_not_built(row) for row in rows)]


def named(rows):
    changes = "-".join(f"{key}={value}" for key, value in rows[0].overrides.items())
    return f"{rows[0].paper}:{rows[0].model}-{changes}"


def is_slow(rows):
    """Log-DenseNets of hundreds of units (those of 12 per stage cover every pattern), and most thinned networks."""
    if rows[0].paper == "channel_sparsity":
        return bool({"depth_multiplier", "sparsify"} & rows[0].overrides.keys()) and rows[0].row not in QUICK
    return rows[0].paper == "log_densenet" and "(12," not in rows[0].row and rows[0].dataset != "camvid"


@pytest.mark.parametrize(
    "rows", [pytest.param(rows, id=named(rows), marks=[pytest.mark.slow] * is_slow(rows)) for rows in BUILT]
)
def test_network_has_the_figures_that_the_ledger_lists(rows):
    for result in check(rows):
        if not why_not_built(result.row):
            assert result.built is not None, result.reason
            assert result.row.is_expected(result.built), result
            assert result.verdict == result.row.match, result


def test_rows_that_are_not_built_have_a_reason():
    reasons = {why_not_built(row) for row in ledger.rows("sparsenet")} - {""}
    assert reasons == {"not a network of skipweave", "requires training"}


def test_grouping_loses_no_row():
    assert sum(map(len, NETWORKS)) == len(ledger.rows())


def row(**changes):
    values = dict(
        paper="sparsenet",
        table="Table 3",
        row="SparseNet-BC, depth 100, k=12",
        dataset="cifar10",
        quantity="parameters",
        printed="0.37",
        unit="M",
        model="sparsenet_bc100_12",
        overrides={"num_classes": 10},
        expected=367858,
        match="yes",
        note="",
    )
    return Row(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "yes"),
        ({"printed": "0.40"}, "no"),
        ({"printed": ""}, "open"),
        ({"expected": None}, "yes"),
        ({"expected": 367859}, "wrong"),
        ({"quantity": "error"}, "open"),
        ({"model": "sparsenet_of_tomorrow"}, "open"),
        ({"model": ""}, "open"),
    ],
)
def test_verdicts(changes, verdict):
    (result,) = check([row(**changes)])
    assert result.verdict == verdict


def test_statistics_count_once_per_reader():
    plain, with_statistics = check([row(), row(quantity="parameters_with_statistics")])
    assert with_statistics.built - plain.built == 9336  # two per normalized channel


def test_difference_is_relative_to_the_printed_figure():
    assert Check(row(printed="0.40"), 400000, "").difference == pytest.approx(0.0)
    assert Check(row(printed="0.40"), 408000, "").difference == pytest.approx(0.02)
    assert Check(row(printed=""), 408000, "").difference is None
