import re

import pytest

from skipweave.analysis.ledger_check import Check, check, why_not_built
from skipweave.ledger import rows
from skipweave_cli import main
from skipweave_cli.commands import ledger
from skipweave_cli.options import LedgerOptions
from skipweave_config.errors import SkipweaveError
from tests.errors import assert_reports

LONG = 400


def lines(capsys):
    return [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_ledger_compares_printed_and_built(capsys, monkeypatch):
    """Of all rows: `tests/analysis/test_ledger_check.py` builds the networks, here one of them is."""

    def check_one(group):
        if group[0].model == "torchvision:resnet50":
            return check(group)
        return [Check(row, None, why_not_built(row) or "not built in this test") for row in group]

    monkeypatch.setattr(ledger, "check", check_one)
    ledger.ledger(LedgerOptions("seqconv"))
    printed = lines(capsys)
    assert any(line.split()[:2] == ["ResNet-50", "torchvision:resnet50"] and "3.8624Gi" in line for line in printed)
    assert "requires training" in " ".join(printed)
    assert_reports(printed[-1], "64 rows", 0)


@pytest.fixture
def nothing_built(monkeypatch):
    monkeypatch.setattr(ledger, "check", lambda rows: [Check(row, None, "not built in this test") for row in rows])


@pytest.mark.usefixtures("nothing_built")
def test_every_row_is_one_line_without_a_terminal(capsys):
    ledger.ledger(LedgerOptions("channel_sparsity"))
    printed = lines(capsys)
    assert sum(line.startswith("depth multiplier") for line in printed) == 18
    assert max(map(len, printed)) < LONG


@pytest.mark.usefixtures("nothing_built")
def test_rows_fit_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    ledger.ledger(LedgerOptions("channel_sparsity"))
    tables, notes, _ = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out).partition("\n  1  ")
    assert notes
    assert "multiplier" in tables
    assert max(map(len, tables.splitlines())) <= 100


def test_a_wrong_row_ends_in_an_error(capsys, monkeypatch):
    row = next(row for row in rows("seqconv") if row.model == "torchvision:resnet50")
    monkeypatch.setattr(ledger, "rows", lambda paper: (row,))
    monkeypatch.setattr(ledger, "check", lambda rows: [Check(row, 1, "") for row in rows])
    with pytest.raises(SkipweaveError):
        ledger.ledger(LedgerOptions("seqconv"))
    assert " wrong " in capsys.readouterr().out


@pytest.mark.usefixtures("nothing_built")
def test_from_the_command_line(capsys, rejects):
    assert main(["ledger", "--paper", "seqconv"]) == 0
    assert "64 rows" in capsys.readouterr().out
    rejects(["ledger", "--paper", "resnet"], "paper", "'resnet'")
