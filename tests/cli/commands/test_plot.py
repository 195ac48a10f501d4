"""`skipweave plot`: figures of networks and their values."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from skipweave_cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    words = "--model.args.units 3 --model.args.growth 2 --epochs 1 --batch_size 512 --accelerator cpu"
    assert main(["fit", *words.split(), "--output", str(runs)]) == 0
    return runs / "sparsenet40_12_digits_1"


def test_a_run_has_some_plots_and_reasons_for_the_others(run: Path, capsys: Capture):
    assert main(["plot", str(run)]) == 0
    out = capsys.readouterr().out
    assert "reuse: mean |weight|" in out
    assert "no norms: " in out
    rows = [line.split() for line in out.splitlines() if line.strip().startswith("stage 3")]
    assert [row[2:4] for row in rows] == [["1", "3"], ["2", "2"]]  # distance and number of links


def test_every_plot_and_its_values_are_saved_to_a_folder(run: Path, tmp_path: Path, rejects: Callable[..., None]):
    folder = tmp_path / "pictures"
    assert main(["plot", str(run / "model.safetensors"), "--save", str(folder)]) == 0
    names = {f"{kind}.{end}" for kind in ("connections", "reuse") for end in ("svg", "png", "csv")}
    assert {path.name for path in folder.iterdir()} == names
    Image.open(folder / "reuse.png").verify()
    assert "sparsenet40_12 units=3 growth=2 on digits" in (folder / "reuse.svg").read_text()
    rows = list(csv.DictReader((folder / "reuse.csv").read_text().splitlines()))
    assert len(rows) == 3 * 5
    assert rows[0] == {"panel": "stage 1", "reader": "1", "source": "0", "value": "1"}
    before = {path: path.read_bytes() for path in folder.iterdir()}
    rejects(["plot", run, "--save", folder], folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("ending", ["svg", "png", "pdf", "csv"])
def test_one_plot_is_saved_to_one_file(run: Path, tmp_path: Path, ending: str):
    file = tmp_path / "new" / f"picture.{ending}"
    assert main(["plot", "sparsenet40_12", "--kind", "connections", "--save", str(file)]) == 0
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_model_name_has_connections_only(capsys: Capture):
    assert main(["plot", "logdensenet_v1_12_16"]) == 0
    out = capsys.readouterr().out
    assert "connections: " in out
    assert "no reuse: " in out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["{run}", "--kind", "norms"], ["norms", "connections, reuse"]),
        (["{run}", "--save", "picture.svg"], ["save", "picture.svg", "connections, reuse"]),
        (["{run}", "--kind", "reuse", "--save", "picture.jpg"], ["save", "picture.jpg"]),
        (["densenet40_12", "--kind", "reuse"], ["reuse", "connections"]),
        (["fc_densenet56"], ["stages"]),
        (["runs/nothing"], ["runs/nothing"]),
        (["densnet40_12"], ["'densnet40_12'"]),
    ],
)
def test_unavailable_plots_are_rejected(run: Path, rejects: Callable[..., None], words: list[str], named: list[str]):
    rejects(["plot", *(word.format(run=run) for word in words)], *named)
