import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from skipweave.training.checkpoint.weights_file import load_weights, save_weights
from skipweave_cli import main
from tests.errors import assert_reports

TINY = [
    "--data.validation",
    "700",
    "--model.args.units",
    "2",
    "--model.args.growth",
    "6",
    "--epochs",
    "2",
    "--accelerator",
    "cpu",
]
Capture = pytest.CaptureFixture[str]
Rejects = Callable[..., None]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    assert main(["fit", "--output", str(place / "runs"), *TINY]) == 0
    return place / "runs" / "sparsenet40_12_digits_1"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.png"
    Image.fromarray((load_digits().images[0] * 255 / 16).astype(np.uint8)).save(path)
    return path


def test_fit_prints_one_line_per_epoch(tmp_path: Path, capsys: Capture):
    assert main(["fit", "--output", str(tmp_path), *TINY]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("sparsenet40_12, ")
    assert lines[1].endswith("sparsenet40_12_digits_1")
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["1/2", "2/2"]
    assert any(line.startswith("test top-1 error ") for line in lines)


def test_a_second_run_gets_its_own_directory(run: Path):
    before = (run / "summary.json").read_bytes()
    assert main(["fit", "--output", str(run.parent), *TINY, "--epochs", "1", "--batch_size", "512"]) == 0
    assert (run.parent / "sparsenet40_12_digits_2" / "summary.json").exists()
    assert (run / "summary.json").read_bytes() == before


def test_resuming_a_finished_run_prints_its_result(run: Path, capsys: Capture):
    assert main(["fit", "--resume", str(run)]) == 0
    assert capsys.readouterr().out.startswith("test top-1 error ")


def test_resuming_with_another_config_is_rejected(run: Path, rejects: Rejects):
    rejects(["fit", "--resume", run, "--epochs", "1"], "epochs", 1, 2)


@pytest.mark.parametrize(("command", "split", "images"), [("validate", "validation", 700), ("test", "test", 359)])
def test_a_run_is_scored_on_a_split(run: Path, capsys: Capture, command: str, split: str, images: int):
    assert main([command, str(run), "--accelerator", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{split}: top-1 error ")
    assert f"({images} images)" in shown
    if split == "test":
        metrics = json.loads((run / "summary.json").read_text())["test_metrics"]
        assert f"top-1 error {metrics['top1_error']:.2f} %" in shown


def test_an_evaluation_is_saved(run: Path, tmp_path: Path, capsys: Capture, rejects: Rejects):
    words = ["test", str(run), "--save", str(tmp_path / "saved"), "--tta", "flip_shift", "--top", "3"]
    assert main([*words, "--accelerator", "cpu"]) == 0
    shown = capsys.readouterr().out
    metrics = json.loads((tmp_path / "saved" / "metrics.json").read_text())
    assert f"top-3 error {metrics['top3_error']:.2f} %" in shown
    with (tmp_path / "saved" / "per_class.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [*"0123456789"]
    assert sum(int(row["images"]) for row in rows) == 359 == metrics["images"]
    recalls = [float(row["recall"]) for row in rows]
    assert metrics["balanced_accuracy"] == pytest.approx(sum(recalls) / 10)
    with (tmp_path / "saved" / "confusion.csv").open(newline="") as file:
        header, *counts = csv.reader(file)
    assert header == ["true", *"0123456789"]
    hits = [int(line[1 + number]) for number, line in enumerate(counts)]
    assert 100 * sum(hits) / 359 == pytest.approx(metrics["top1_accuracy"])
    saved = {str(path) for path in (tmp_path / "saved").iterdir()}
    assert saved == {line.removeprefix("saved ") for line in shown.splitlines() if line.startswith("saved ")}
    with (tmp_path / "saved" / "predictions.csv").open(newline="") as file:
        images = list(csv.DictReader(file))
    assert list(images[0]) == ["image", "label", "predicted", *"0123456789"]
    for one in images:
        chances = [float(one[name]) for name in "0123456789"]
        assert sum(chances) == pytest.approx(1)
        assert one["predicted"] == str(np.argmax(chances))
    assert 100 * np.mean([one["label"] == one["predicted"] for one in images]) == pytest.approx(
        metrics["top1_accuracy"]
    )
    with (run / "splits.csv").open(newline="") as file:
        tested = [(one["image"], one["label"]) for one in csv.DictReader(file) if one["split"] == "test"]
    assert [(one["image"], one["label"]) for one in images] == tested
    assert all(load_digits().target[int(image)] == int(label) for image, label in tested)
    rejects(words, tmp_path / "saved" / "metrics.json", "--save")


def test_predict_takes_a_run_or_a_weights_file(run: Path, scan: Path, capsys: Capture):
    assert main(["predict", str(scan), "--run", str(run)]) == 0
    by_run = capsys.readouterr().out
    assert main(["predict", str(scan.parent), "--model", str(run / "model.safetensors")]) == 0
    assert capsys.readouterr().out == by_run
    assert scan.name in by_run


def test_printed_class_and_file_names_have_no_control_characters(
    run: Path, scan: Path, tmp_path: Path, capsys: Capture
):
    network, description = load_weights(run / "model.safetensors")
    hostile = replace(description, classes=tuple(f"\x1b[2J\x1b]0;{digit}\x07\x9b\u202e" for digit in range(10)))
    weights = tmp_path / "hostile.safetensors"
    save_weights(weights, network.state_dict(), hostile, 2)
    (tmp_path / "bad\x1b[2J.png").write_bytes(b"not an image")
    assert main(["predict", str(tmp_path), "--model", str(weights)]) == 2
    shown = capsys.readouterr()
    assert all(sign.isprintable() or sign == "\n" for sign in shown.out + shown.err)
    assert re.search(r"\?\[2J\?\]0;\d\?\?\? ", shown.out)
    assert "bad?[2J.png" in shown.err


def test_predictions_are_written_as_csv_and_json(run: Path, scan: Path, tmp_path: Path):
    for name in ("p.csv", "p.json"):
        assert main(["predict", str(scan), "--run", str(run), "--top", "2", "--output", str(tmp_path / name)]) == 0
    with (tmp_path / "p.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    (entry,) = json.loads((tmp_path / "p.json").read_text())
    assert row["image"] == entry["image"] == str(scan)
    assert list(row) == ["image", "label", *"0123456789", "problem"]
    assert entry["classes"] == [row["label"]]
    assert entry["probabilities"] == {name: float(row[name]) for name in "0123456789"}


def test_of_many_images_the_first_are_printed(run: Path, scan: Path, tmp_path: Path, capsys: Capture):
    for number in range(23):
        (tmp_path / f"{number:02}.png").write_bytes(scan.read_bytes())
    words = ["predict", str(tmp_path), "--run", str(run), "--accelerator", "cpu", "--output", str(tmp_path / "p.csv")]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert sum(".png" in line for line in shown.splitlines()) == 20
    assert_reports(shown.splitlines()[-1], 20, 24, tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text().count("\n") == 25


def test_predictions_overwrite_no_file(run: Path, scan: Path, tmp_path: Path, rejects: Rejects):
    (tmp_path / "p.csv").write_text("mine")
    rejects(["predict", scan, "--run", run, "--output", tmp_path / "p.csv"], tmp_path / "p.csv", "--output")
    assert (tmp_path / "p.csv").read_text() == "mine"


def test_an_unreadable_image_is_reported_and_the_others_are_classified(run: Path, scan: Path, capsys: Capture):
    (scan.parent / "bad.png").write_bytes(b"not an image")
    table = scan.parent / "p.csv"
    assert main(["predict", str(scan.parent), "--run", str(run), "--output", str(table)]) == 2
    shown = capsys.readouterr()
    assert scan.name in shown.out
    assert_reports(shown.err, "skipweave: error", scan.parent / "bad.png")
    with table.open(newline="") as file:
        assert [bool(row["problem"]) for row in csv.DictReader(file)] == [True, False]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["fit", "--model.name", "sparsnet40_24"], ["'sparsnet40_24'", "sparsenet40_24"]),
        (["fit", "--data.name", "cifar10"], ["data.root", None]),
        (["fit", "--data.name", "cifar10", "--data.root", "/nowhere"], ["/nowhere"]),
        (["test", "/nowhere"], ["/nowhere"]),
        (["predict", "/nowhere.png", "--run", "/nowhere"], ["/nowhere"]),
        (["predict", "a.png", "--run", "a", "--model", "b"], ["model", "'b'", "--run"]),
    ],
)
def test_invalid_values_are_rejected(words: list[str], named: list[object], rejects: Rejects):
    rejects(words, *named)


def test_an_output_of_another_file_type_is_rejected(run: Path, scan: Path, rejects: Rejects):
    rejects(["predict", scan, "--run", run, "--output", "c.txt"], "output", "'c.txt'")


def test_a_damaged_checkpoint_is_reported(run: Path, tmp_path: Path, rejects: Rejects):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    (tmp_path / "checkpoints" / "best.safetensors").write_bytes(b"x" * 50)
    rejects(["test", tmp_path], tmp_path / "checkpoints" / "best.safetensors")


@pytest.mark.parametrize("norm_layer", ["group", "layer"])
def test_batches_of_one_image_train_without_batch_norms(tmp_path: Path, norm_layer: str):
    for number in range(12):
        folder = tmp_path / "photos" / f"class {number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 20 * number, dtype=np.uint8)).save(folder / f"{number}.png")
    data = ["--data.name", "folder", "--data.root", str(tmp_path / "photos"), "--data.image_size", "4"]
    options = [*data, "--data.validation", "0", "--batch_size", "1", "--output", str(tmp_path / "runs")]
    assert main(["fit", *TINY, *options]) == 2  # its last maps have one position
    assert main(["fit", *TINY, *options, "--model.args.norm_layer", norm_layer]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    network, description = load_weights(run / "model.safetensors")
    assert description.args["norm_layer"] == norm_layer
    assert not dict(network.named_buffers())
