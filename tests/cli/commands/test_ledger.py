import re
from dataclasses import replace

import pytest

from skipweave.analysis.ledger_check import check
from skipweave.ledger import Comparison, rows, stored
from skipweave.ledger.efficiency import TRADE_OFFS
from skipweave_cli import main
from skipweave_cli.commands import ledger
from skipweave_cli.options import LedgerOptions
from skipweave_config.errors import SkipweaveError
from tests.errors import assert_reports

LONG = 500


def lines(capsys):
    return [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_ledger_compares_printed_and_stored_figures(capsys, monkeypatch):
    def fail(group):
        raise AssertionError("a network was built")

    monkeypatch.setattr(ledger, "check", fail)
    ledger.ledger(LedgerOptions("seqconv"))
    printed = lines(capsys)
    assert any(line.split()[:2] == ["ResNet-50", "torchvision:resnet50"] and "3.8624Gi" in line for line in printed)
    assert any(line.split()[0] == "SeqResNet-B42" and "5.3363Gi" in line for line in printed)
    assert "requires training" in " ".join(printed)
    assert_reports(printed[-1], f"{len(rows('seqconv'))} rows", 1, 0)  # one is unexplained, none is wrong


def test_ledger_builds_networks_on_request(capsys, monkeypatch):
    """Of all rows: `tests/analysis/test_ledger_check.py` builds the networks, here one of them is."""

    def check_one(group):
        return check(group) if group[0].model == "torchvision:resnet50" else map(stored, group)

    monkeypatch.setattr(ledger, "check", check_one)
    ledger.ledger(LedgerOptions("seqconv", build=True))
    assert any(line.split()[:2] == ["ResNet-50", "torchvision:resnet50"] for line in lines(capsys))


def test_unexplained_differences_are_counted(capsys, monkeypatch):
    row = next(row for row in rows("sparsenet") if row.match == "unexplained")
    near = replace(row, printed="1.15")
    monkeypatch.setattr(ledger, "rows", lambda paper: (row, near))
    ledger.ledger(LedgerOptions("sparsenet"))
    assert re.search(r"\b2 differ and are unexplained \(1 of them", lines(capsys)[-1])


def test_every_row_is_one_line_without_a_terminal(capsys):
    ledger.ledger(LedgerOptions("channel_sparsity"))
    printed = lines(capsys)
    assert sum(line.startswith("depth multiplier .") for line in printed) == 18
    assert max(map(len, printed)) < LONG


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
    monkeypatch.setattr(ledger, "check", lambda rows: [Comparison(row, 1) for row in rows])
    with pytest.raises(SkipweaveError):
        ledger.ledger(LedgerOptions("seqconv", build=True))
    assert " wrong " in capsys.readouterr().out


def test_plots_of_a_paper_are_saved(capsys, tmp_path):
    ledger.ledger(LedgerOptions("channel_sparsity", save=tmp_path / "plots"))
    names = [plot.name for plot in TRADE_OFFS if plot.paper == "channel_sparsity"]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(
        f"{name}.{end}" for name in names for end in ("png", "svg")
    )
    with pytest.raises(SkipweaveError):  # existing files are not overwritten
        ledger.ledger(LedgerOptions("channel_sparsity", save=tmp_path / "plots"))


def test_from_the_command_line(capsys, rejects):
    assert main(["ledger", "--paper", "seqconv"]) == 0
    assert f"{len(rows('seqconv'))} rows" in capsys.readouterr().out
    rejects(["ledger", "--paper", "resnet"], "paper", "'resnet'")
