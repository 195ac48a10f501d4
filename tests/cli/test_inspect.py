import re

import pytest
from PIL import Image

from skipweave import ledger
from skipweave.analysis.ledger_check import Check, check, why_not_built
from skipweave.cli import inspect, main
from skipweave.errors import SkipweaveError

LONG = 400


def lines(capsys):
    return [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_models_are_listed_with_their_published_size(capsys):
    inspect.models("sparsenet4")
    assert [line.split() for line in lines(capsys)[2:]] == [
        ["sparsenet40_12", "3x32x32"],
        ["sparsenet40_24", "3x32x32", "0.76M"],
    ]
    inspect.models("delugenet1*")  # whose rows in the ledger name an argument that is the network's own
    assert [line.split()[-1] for line in lines(capsys)[2:]] == ["51.4M", "63.6M", "6.69M", "20.19M"]


def test_models_that_do_not_exist():
    with pytest.raises(SkipweaveError, match="no model is called anything like 'squeezenet'"):
        inspect.models("squeezenet")


def test_show_names_costs_and_links(capsys):
    inspect.show("sparsenet121_32")
    told = "\n".join(lines(capsys))
    for figure in ("4,513,576", "1,723,480,320", "3,464,608,896", "6.1 MiB at most", "199 into 58 units", "maximum 5"):
        assert figure in told
    for stage in ("1       exponential       6      14", "3       exponential      24      94"):
        assert stage in told


def test_show_takes_overrides_and_an_input_size(capsys):
    inspect.show("sparsenet40_24", {"growth": 12, "num_classes": 100}, input_size=(3, 16, 16))
    told = lines(capsys)
    assert told[0] == "sparsenet40_24 growth=12 num_classes=100"
    assert any(line.startswith("parameters") and "193,924" in line for line in told)
    assert any(line.split() == ["images", "3x16x16"] for line in told)


def test_show_thins_networks(capsys):
    assert main(["show", "tutorial_mnist", "--args.depth_multiplier", "0.5", "--args.sparsify", "0.1"]) == 0
    told = lines(capsys)
    assert any(line.startswith("parameters") and "55,050" in line for line in told)


def test_show_saves_pictures(capsys, tmp_path):
    inspect.show("sparsenet40_24", save=tmp_path / "new" / "net")
    inspect.show("sparsenet40_24", save=tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"new/net.png", "new/net.svg", "sparsenet40_24.png", "sparsenet40_24.svg"}
    assert f"saved {tmp_path / 'new' / 'net.png'}" in lines(capsys)
    Image.open(tmp_path / "sparsenet40_24.png").verify()


def test_show_does_not_overwrite(tmp_path):
    (tmp_path / "net.svg").write_text("mine")
    with pytest.raises(SkipweaveError, match=r"net.svg exists already: choose another --save"):
        inspect.show("sparsenet40_24", save=tmp_path / "net")
    assert [path.name for path in tmp_path.iterdir()] == ["net.svg"]
    assert (tmp_path / "net.svg").read_text() == "mine"


def test_ledger_compares_printed_and_built(capsys, monkeypatch):
    """Of all rows: `tests/analysis/test_ledger_check.py` builds the networks, here one of them is."""

    def check_one(group):
        if group[0].model == "torchvision:resnet50":
            return check(group)
        return [Check(row, None, why_not_built(row) or "not built in this test") for row in group]

    monkeypatch.setattr(inspect, "check", check_one)
    inspect.ledger("seqconv")
    told = lines(capsys)
    assert any(line.split()[:2] == ["ResNet-50", "torchvision:resnet50"] and "3.8624Gi" in line for line in told)
    assert "told by training, not by counting" in " ".join(told)
    assert told[-1].startswith("64 rows; ")
    assert "0 are wrong" in told[-1]


@pytest.fixture
def nothing_built(monkeypatch):
    monkeypatch.setattr(inspect, "check", lambda rows: [Check(row, None, "not built in this test") for row in rows])


@pytest.mark.usefixtures("nothing_built")
def test_every_row_is_one_line_in_a_pipe(capsys):
    inspect.ledger("channel_sparsity")
    told = lines(capsys)
    assert sum(line.startswith("depth multiplier") for line in told) == 18
    assert max(map(len, told)) < LONG


@pytest.mark.usefixtures("nothing_built")
def test_rows_fit_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    inspect.ledger("channel_sparsity")
    tables, notes, _ = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out).partition("\n  1  ")
    assert notes
    assert "multiplier" in tables
    assert max(map(len, tables.splitlines())) <= 100


def test_a_wrong_row_ends_in_an_error(capsys, monkeypatch):
    row = next(row for row in ledger.rows("seqconv") if row.model == "torchvision:resnet50")
    monkeypatch.setattr(inspect, "rows", lambda paper: (row,))
    monkeypatch.setattr(inspect, "check", lambda rows: [Check(row, 1, "") for row in rows])
    with pytest.raises(SkipweaveError, match="1 rows are not what the ledger expects"):
        inspect.ledger("seqconv")
    assert " wrong " in capsys.readouterr().out


def test_a_paper_that_the_ledger_does_not_have():
    with pytest.raises(SkipweaveError, match="unknown paper 'resnet'"):
        inspect.ledger("resnet")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["models"], "densenet121_32"),
        (["models", "sparsenet4"], "sparsenet40_24"),
        (["show", "sparsenet40_24", "--args.growth", "12", "--args.num_classes", "100"], "193,924"),
        (["show", "sparsenet40_24", "--input_size", "[3, 8, 8]"], "3x8x8"),
        (["ledger", "--paper", "seqconv"], "64 rows"),
    ],
)
@pytest.mark.usefixtures("nothing_built")
def test_from_the_command_line(capsys, words, told):
    assert main(words) == 0
    assert told in capsys.readouterr().out


def test_mistakes_on_the_command_line(capsys):
    assert main(["show", "sparsenet40_25"]) == 2
    assert main(["models", "squeezenet"]) == 2
    assert main(["show", "sparsenet40_24", "--args.growth", "0"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert all(error.startswith("skipweave: error: ") for error in errors)
