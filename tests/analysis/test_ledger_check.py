from collections import Counter

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
    """Log-DenseNets of hundreds of units: those of 12 a stage cover every pattern. Thinned networks, but for one."""
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


def test_how_many_networks_and_rows_are_held():
    built = Counter(row.paper for rows in NETWORKS for row in rows if not why_not_built(row))
    assert built["sparsenet"] == 112
    assert built["log_densenet"] == 257
    assert built["delugenet"] == 42
    assert built["seqconv"] == 46
    assert built["channel_sparsity"] == 45
    assert len(BUILT) >= 230


def test_rows_of_this_family_that_are_not_built_say_why():
    reasons = {why_not_built(row) for row in ledger.rows("sparsenet")} - {""}
    assert reasons == {"no network of ours", "told by training, not by counting"}


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


def test_statistics_are_counted_as_in_the_papers_form():
    plain, with_statistics = check([row(), row(quantity="parameters_with_statistics")])
    assert with_statistics.built - plain.built == 9336  # as many as gains and biases


def test_difference_is_relative_to_the_printed_figure():
    assert Check(row(printed="0.40"), 400000, "").difference == pytest.approx(0.0)
    assert Check(row(printed="0.40"), 408000, "").difference == pytest.approx(0.02)
    assert Check(row(printed=""), 408000, "").difference is None
