from decimal import Decimal

import pytest

from skipweave.ledger import Comparison, rows, stored
from tests.ledger_rows import row


@pytest.mark.parametrize(
    ("changes", "ours", "verdict"),
    [
        ({}, 367858, "yes"),
        ({"printed": "0.40", "match": "no"}, 367858, "no"),
        ({"printed": "0.40", "match": "unexplained"}, 367858, "unexplained"),
        ({"printed": ""}, 367858, "open"),
        ({"expected": None}, 367858, "yes"),
        ({}, 367859, "wrong"),
        ({}, None, "open"),
    ],
)
def test_verdicts(changes, ours, verdict):
    assert Comparison(row(**changes), ours).verdict == verdict


def test_difference_is_relative_to_the_printed_figure():
    assert Comparison(row(printed="0.40"), 400000).difference == pytest.approx(0.0)
    assert Comparison(row(printed="0.40"), 408000).difference == pytest.approx(0.02)
    assert Comparison(row(printed=""), 408000).difference is None


@pytest.mark.parametrize(
    ("changes", "ours", "has_reason"),
    [
        ({}, 367858, False),
        ({"expected": Decimal("0.37")}, 370000, False),
        ({"model": ""}, 367858, False),  # counted by hand
        ({"model": "", "expected": None}, None, True),
        ({"quantity": "error", "expected": None}, None, True),
        ({"quantity": "time", "expected": None, "unit": "ms"}, None, True),
    ],
)
def test_stored_figures(changes, ours, has_reason):
    result = stored(row(**changes))
    assert (result.ours, bool(result.reason)) == (ours, has_reason)


def test_stored_figures_have_the_verdict_of_their_row():
    assert all(stored(row).verdict == row.match for row in rows())
