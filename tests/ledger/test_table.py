from decimal import Decimal
from math import floor, log2

import pytest

from skipweave import ledger
from skipweave.ledger.table import MEASURED, SCALES
from tests.errors import raises

ROWS = ledger.rows()
COUNTED = {
    "parameters",
    "parameters_with_statistics",
    "convolution_weights",
    "macs",
    "convolution_macs",
    "operations",
}
CELLS = {
    ("sparsenet", "Table 2"): 66,  # 23 networks, parameters and two errors; three cells without a figure
    ("sparsenet", "Table 3"): 38,  # 20 networks, parameters and an error; two cells without
    ("sparsenet", "Table 4"): 38,  # 10 networks, four columns; two cells without
    ("log_densenet", "Table 1"): 144,  # 9 sizes: operations of four patterns (one figure for three), 12 errors
    ("log_densenet", "Table 2"): 84,  # 7 sizes: operations of four patterns (one figure for two), 8 errors
    ("log_densenet", "Table 3"): 99,  # 7 networks, 15 columns; six cells without
    ("seqconv", "Table 2"): 6,
    ("seqconv", "Table 3"): 53,  # 18 networks, three columns; one cell without
    ("seqconv", "Table 4"): 53,  # 14 networks, four columns; three cells without
    ("seqconv", "Table 5"): 8,
    ("delugenet", "Table 1"): 67,  # 20 networks, four columns; 13 cells without
    ("delugenet", "Table 2"): 27,  # 9 networks, three columns; the fourth has the differences of the third
    ("delugenet", "Table 3"): 31,  # 8 networks, four columns; one cell without
    ("delugenet", "Section 5"): 10,
    ("channel_sparsity", "Table 1"): 43,  # 14 networks, three columns, and one figure in brackets
}
"""Figures of every table about networks, counted on paper."""


def test_every_cell_has_a_known_kind():
    for row in ROWS:
        assert row.table, row
        assert row.row, row
        assert row.dataset in ledger.INPUT_SIZES, row
        assert row.quantity in COUNTED | MEASURED.keys(), row
        assert row.unit in SCALES, row
        assert row.printed or row.expected is not None, row


def test_match_is_whether_our_figure_rounds_to_the_printed_one():
    for row in ROWS:
        if not row.printed or row.expected is None:
            assert row.match == "open", row
            continue
        assert row.match in (("yes",) if row.is_printed(row.ours) else ("no", "unexplained")), row


def test_every_difference_and_every_network_we_cannot_build_has_a_note():
    for row in ROWS:
        assert row.note or (row.match in ("yes", "open") and row.model), row


def test_every_figure_that_can_be_counted_is_stored():
    for row in ROWS:
        assert row.ours is not None or not row.is_countable, row
        assert row.ours is None or row.is_countable or "hand" in row.note, row


def test_a_table_repeats_a_figure_only_for_another_reading():
    assert len({repr(row) for row in ROWS}) == len(ROWS)


def cells(paper, table):
    """Printed figures of a table: rows of one cell that read it differently count once."""
    return {
        (row.row, row.quantity.removesuffix("_with_statistics"), row.quantity in MEASURED and row.dataset, row.printed)
        for row in ROWS
        if (row.paper, row.table) == (paper, table) and row.printed
    }


@pytest.mark.parametrize(("paper", "table"), CELLS)
def test_every_cell_of_a_table_has_a_row(paper, table):
    assert len(cells(paper, table)) == CELLS[paper, table]


def test_other_rows_come_from_texts_figures_and_pages():
    others = {(row.paper, row.table) for row in ROWS if row.printed} - CELLS.keys()
    assert others == {
        ("sparsenet", "authors' page"),
        ("seqconv", "text"),
        ("channel_sparsity", "text"),
        ("hardnet", "authors' page"),
    }


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


def fit_of_v2(n, growth):
    """Operations of the fit for Log-DenseNet V2 in Table 1: a stem of `growth` channels, not twice as many."""
    macs, read, pixels = 27 * growth * 1024, growth, 1024
    for stage in range(3):
        for unit in range(1, n + 1):
            macs += pixels * (4 * growth * (read + growth * floor(log2(unit))) + 36 * growth**2)
        if stage < 2:
            kept = growth * floor(log2(n))
            macs += pixels * (read**2 + n * growth * kept)
            read, pixels = read + kept, pixels // 4
    return 2 * macs


def test_fit_for_log_densenet_v2():
    fits = [
        row for row in ROWS if row.row.startswith("LD2, ") and row.table == "Table 1" and row.ours and not row.model
    ]
    assert len(fits) == 9
    for row in fits:
        n, growth = map(int, row.row.removeprefix("LD2, (").removesuffix(")").split(","))
        assert row.ours == fit_of_v2(n, growth)
        printed = 5.62 if (n, growth) == (32, 32) else float(row.printed)
        assert -0.012 < float(row.in_units(row.ours)) / printed - 1 < -0.002
