"""Pictures of networks, and networks with fewer links, from the command line."""

import csv
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


def test_a_run_shows_what_it_has_and_says_what_not(run: Path, capsys: Capture):
    assert main(["look", str(run)]) == 0
    told = capsys.readouterr().out
    assert "reuse: mean |weight|" in told
    assert "no norms: no cross-layer convolution reads a stage of this network: expected a DelugeNet" in told
    rows = [line.split() for line in told.splitlines() if line.strip().startswith("stage 3")]
    assert [row[2:4] for row in rows] == [["1", "3"], ["2", "2"]]  # how far back, and how many links


def test_a_folder_gets_every_picture_and_its_numbers(run: Path, tmp_path: Path, capsys: Capture):
    folder = tmp_path / "pictures"
    assert main(["look", str(run / "model.safetensors"), "--save", str(folder)]) == 0
    names = {f"{kind}.{end}" for kind in ("connections", "reuse") for end in ("svg", "png", "csv")}
    assert {path.name for path in folder.iterdir()} == names
    Image.open(folder / "reuse.png").verify()
    assert "sparsenet40_12 units=3 growth=2 on digits" in (folder / "reuse.svg").read_text()
    rows = list(csv.DictReader((folder / "reuse.csv").read_text().splitlines()))
    assert len(rows) == 3 * 5
    assert rows[0] == {"panel": "stage 1", "reader": "1", "source": "0", "value": "1"}
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert main(["look", str(run), "--save", str(folder)]) == 2
    assert "exists already: choose another --save" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("ending", ["svg", "png", "pdf", "csv"])
def test_one_picture_goes_into_one_file(run: Path, tmp_path: Path, ending: str):
    file = tmp_path / "new" / f"picture.{ending}"
    assert main(["look", "sparsenet40_12", "--kind", "connections", "--save", str(file)]) == 0
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_name_has_connections_only(capsys: Capture):
    assert main(["look", "logdensenet_v1_12_16"]) == 0
    told = capsys.readouterr().out
    assert "connections: who reads whom" in told
    assert "no reuse: weights say something in a trained network only" in told


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["{run}", "--kind", "norms"], "expected a DelugeNet (it has connections, reuse)"),
        (["{run}", "--save", "picture.svg"], "is one file, picture.svg, for connections, reuse: choose one by --kind"),
        (["{run}", "--kind", "reuse", "--save", "picture.jpg"], "expected a folder, or a file that ends in .png"),
        (["densenet40_12", "--kind", "reuse"], "give a run's folder (it has connections)"),
        (["fc_densenet56"], "the network has no stages with a topology"),
        (["runs/nothing"], "no such run folder or file: runs/nothing"),
        (["densnet40_12"], "unknown model 'densnet40_12'"),
    ],
)
def test_what_cannot_be_shown(run: Path, capsys: Capture, words: list[str], complaint: str):
    assert main(["look", *(word.format(run=run) for word in words)]) == 2
    assert complaint in capsys.readouterr().err


def test_links_are_listed_and_taken_out(run: Path, tmp_path: Path, capsys: Capture):
    output = tmp_path / "fewer"
    assert main(["prune-links", str(run), "--below", "1", "--output", str(output)]) == 0
    told = capsys.readouterr().out
    assert "removable" in told
    links = next(line for line in told.splitlines() if line.strip().startswith("links of units"))
    before, after = map(int, links.split()[-3:-1])
    assert before == 15
    assert 9 <= after < 15  # every unit keeps a source, and every node a reader
    assert f"skipweave fit --config {output}/config.yaml" in told
    assert main(["validate", str(output)]) == 0
    words = ["--epochs", "1", "--optim.lr", "0.01", "--output", str(tmp_path / "runs")]
    assert main(["fit", "--config", f"{output}/config.yaml", *words]) == 0
    assert (tmp_path / "runs" / "sparsenet40_12_digits_1" / "summary.json").exists()
    assert main(["prune-links", str(run), "--below", "0.000001"]) == 0
    assert "nothing is removed" in capsys.readouterr().out
