from collections.abc import Callable
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


def test_nothing_to_remove_is_not_an_error(run: Path, tmp_path: Path, capsys: Capture):
    assert main(["prune-links", str(run), "--below", "1e-9"]) == 0
    assert "1e-09" in capsys.readouterr().out
    output = tmp_path / "new"
    assert main(["prune-links", str(run), "--below", "1e-9", "--output", str(output)]) == 0
    assert str(output) in capsys.readouterr().out
    assert not output.exists()


def test_links_are_listed_and_removed(run: Path, tmp_path: Path, capsys: Capture):
    output = tmp_path / "fewer"
    assert main(["prune-links", str(run), "--below", "1", "--output", str(output)]) == 0
    out = capsys.readouterr().out
    assert "removable" in out
    links = next(line for line in out.splitlines() if line.strip().startswith("links of units"))
    before, after = map(int, links.split()[-3:-1])
    assert before == 18
    assert 9 <= after < 18  # every unit keeps a source, and every node a reader
    assert f"skipweave fit --config {output}/config.yaml" in out
    assert main(["validate", str(output)]) == 0
    words = ["--epochs", "1", "--optim.lr", "0.01", "--output", str(tmp_path / "runs")]
    assert main(["fit", "--config", f"{output}/config.yaml", *words]) == 0
    assert (tmp_path / "runs" / "sparsenet40_24_digits_1" / "summary.json").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--below", "2"], ["below", 2.0]),
        (["--below", "x"], ["below", "'x'"]),
        (["--output", "."], ["output", "."]),
    ],
)
def test_invalid_values_are_rejected(run: Path, rejects: Callable[..., None], words: list[str], named: list[object]):
    rejects(["prune-links", run, *words], *named)
