from pathlib import Path

import pytest

from skipweave.data import DataConfig
from skipweave.training import FitConfig, ModelConfig, fit
from skipweave_cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = ModelConfig("sparsenet40_24", {"units": 3, "growth": 4, "topology": "dense"})
    output = tmp_path_factory.mktemp("runs")
    config = FitConfig(model, DataConfig(), epochs=1, batch_size=512, output=output, accelerator="cpu")
    return fit(config).run_dir


def test_nothing_to_remove_is_no_mistake(run: Path, tmp_path: Path, capsys: Capture):
    assert main(["prune-links", str(run), "--below", "1e-9"]) == 0
    assert capsys.readouterr().out == "no link with a weight below 1e-09 can be removed: nothing is removed\n"
    output = tmp_path / "new"
    assert main(["prune-links", str(run), "--below", "1e-9", "--output", str(output)]) == 0
    assert capsys.readouterr().out.endswith(f"nothing is removed, and {output} is not written\n")
    assert not output.exists()


def test_links_are_listed(run: Path, capsys: Capture):
    assert main(["prune-links", str(run), "--below", "1"]) == 0
    shown = capsys.readouterr().out
    assert "removable" in shown
    assert "nothing is removed" not in shown


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--below", "2"], "below is 2.0"),
        (["--below", "x"], "below is 'x'"),
        (["--output", "."], "exists already: give the name of a new folder"),
    ],
)
def test_mistakes_are_one_line_and_status_2(run: Path, capsys: Capture, words: list[str], part: str):
    assert main(["prune-links", str(run), *words]) == 2
    assert part in capsys.readouterr().err
