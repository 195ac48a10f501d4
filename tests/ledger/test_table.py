from decimal import Decimal

import pytest

from skipweave import ledger
from skipweave.ledger.table import SCALES
from tests.errors import raises

ROWS = ledger.rows()
QUANTITIES = {
    "parameters",
    "parameters_with_statistics",
    "convolution_weights",
    "macs",
    "convolution_macs",
    "operations",
    "error",
    "top5_error",
    "accuracy",
    "mean_iou",
    "iou",
}


def test_every_cell_has_a_known_kind():
    for row in ROWS:
        assert row.table, row
        assert row.row, row
        assert row.dataset in ledger.INPUT_SIZES, row
        assert row.quantity in QUANTITIES, row
        assert row.unit in SCALES, row
        assert row.printed or row.expected is not None, row


def test_match_is_whether_our_figure_rounds_to_the_printed_one():
    for row in ROWS:
        if not row.printed or row.expected is None:
            assert row.match == "open", row
            continue
        ours = row.expected * SCALES[row.unit] if isinstance(row.expected, Decimal) else row.expected
        assert row.match == ("yes" if row.is_printed(ours) else "no"), row


def test_every_difference_and_every_network_we_cannot_build_has_a_note():
    for row in ROWS:
        assert row.note or (row.match != "no" and row.model), row


def test_a_table_repeats_a_figure_only_for_another_reading():
    for row in ROWS:
        same = [other for other in ROWS if other == row]
        assert len(same) == 1, row


def test_every_table_has_rows():
    tables = {(row.paper, row.table) for row in ROWS}
    assert {t for p, t in tables if p == "sparsenet"} == {"Table 2", "Table 3", "Table 4", "authors' page"}
    assert {("seqconv", "Table 3"), ("seqconv", "Table 4"), ("seqconv", "Table 5")} <= tables
    assert {("delugenet", "Table 1"), ("delugenet", "Table 2"), ("delugenet", "Table 3")} <= tables
    assert {("log_densenet", f"Table {i}") for i in (1, 2, 3)} <= tables
    assert ("channel_sparsity", "Table 1") in tables


def test_published_error_of_the_main_result():
    error = next(r for r in ROWS if r.quantity == "error" and r.model == "sparsenet40_24" and r.dataset == "cifar10")
    assert (error.printed, error.unit, error.match) == ("5.13", "%", "open")


@pytest.mark.parametrize(
    ("printed", "unit", "value", "agrees"),
    [
        ("5.7", "M", 5645908, False),  # 5.646 rounds down
        ("5.65", "M", 5645908, True),
        ("117", "M", 117124738, True),
        ("0.40", "M", 397000, True),
        ("2.73", "Gi", 2931930000, True),  # 2^30, not 10^9
        ("1.5", "M", 1450000, True),  # half is rounded up
    ],
)
def test_rounding_to_the_printed_decimals(printed, unit, value, agrees):
    row = ledger.Row("sparsenet", "t", "r", "cifar10", "parameters", printed, unit, "", {}, None, "open", "")
    assert row.is_printed(value) is agrees


def test_expected_is_exact_or_to_its_decimals():
    def row(expected):
        return ledger.Row("sparsenet", "t", "r", "cifar10", "macs", "", "G", "", {}, expected, "open", "")

    assert row(757252).is_expected(757252)
    assert not row(757252).is_expected(757253)
    assert row(Decimal("3.4646")).is_expected(3464602520)
    assert not row(Decimal("3.4646")).is_expected(3464702520)


def test_unknown_paper():
    with raises("'densenet'", "sparsenet", "log_densenet"):
        ledger.rows("densenet")
