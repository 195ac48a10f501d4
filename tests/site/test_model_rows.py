"""docs/site/model_rows.py: the table of models has all models, and the figures of the ledger."""

import runpy
from pathlib import Path

import skipweave
from skipweave.ledger import rows

ROWS = {
    row.entry.name: row
    for row in runpy.run_path(str(Path(__file__).parents[2] / "docs" / "site" / "model_rows.py"))["model_rows"]()
}


def test_every_model_has_a_row():
    assert ROWS.keys() == set(skipweave.list_models())


def test_published_errors_are_those_of_the_model_itself():
    shown = {figure.text for figure in ROWS["densenet40_12"].published["CIFAR-100"]}
    of_model = [row for row in rows() if row.model == "densenet40_12" and row.dataset == "cifar100"]
    assert shown == {
        row.printed for row in of_model if row.quantity == "error" and set(row.overrides) == {"num_classes"}
    }
    assert shown == {"24.42", "24.79"}
    assert ROWS["sparsenet121_32"].published["CIFAR-10"] == ()


def test_own_errors_and_times_are_in_the_rows_of_their_models():
    assert [name for name, row in ROWS.items() if row.own] == ["sparsenet_fast_64", "sparsenet_fast_96"]
    assert ROWS["sparsenet121_32"].time < ROWS["densenet121_32"].time
    assert ROWS["sparsenet40_24"].time is None
