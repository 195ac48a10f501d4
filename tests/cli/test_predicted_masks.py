"""Label maps from the command line: train, predict, look at the exits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipweave_cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures whose upper half is bright sky and whose lower half is dark ground, with their label images."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for number in range(20):
        labels = np.zeros((16, 24), dtype=np.uint8)
        labels[rng.integers(5, 11) :] = 1
        pixels = np.where(labels == 0, 200, 60)[..., None] + rng.integers(-30, 30, (16, 24, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / f"{number}.png")
        Image.fromarray(labels).save(root / "masks" / f"{number}.png")
    (root / "classes.csv").write_text("name,value,r,g,b\nsky,0,90,140,250\nground,1,120,80,40\nvoid,255,0,0,0\n")
    return root


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    words = "--data.name masks --model.name fc_logdensenet103 --model.args.units [1,1,1] --model.args.growth 6 "
    words += "--optim.lr 0.05 --batch_size 4 --epochs 8 --accelerator cpu --loss.class_weights median_frequency"
    assert main(["fit", *words.split(), "--data.root", str(pictures), "--output", str(runs)]) == 0
    return runs / "fc_logdensenet103_masks_1"


def test_the_run_is_tested_class_by_class(run: Path, capsys: Capture):
    assert main(["test", str(run)]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert "mIoU" in first
    assert [line.split()[0] for line in lines] == ["sky", "ground", "exit", "exit"]
    assert float(lines[0].split()[2]) > 80  # so plain a picture is learned at once


def test_predictions_are_label_maps_and_overlays(run: Path, pictures: Path, tmp_path: Path, capsys: Capture):
    out = tmp_path / "out"
    odd = tmp_path / "odd.png"
    Image.open(pictures / "images" / "3.png").resize((31, 17)).save(odd)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    words = ["predict", str(odd), str(broken), "--run", str(run), "--output", str(out)]
    assert main(words) == 2
    shown = capsys.readouterr()
    assert "not a readable image" in shown.err
    assert "sky" in shown.out
    assert {path.name for path in out.iterdir()} == {"odd_labels.png", "odd_overlay.png"}
    with Image.open(out / "odd_labels.png") as labels:
        assert (labels.size, labels.mode) == ((31, 17), "P")
        assert labels.getpalette()[:6] == [90, 140, 250, 120, 80, 40]
        assert (np.asarray(labels)[0] == 0).mean() > 0.8
        assert (np.asarray(labels)[-1] == 1).mean() > 0.8
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err
    for other in ("new.csv", str(odd)):
        assert main([*words[:-1], other]) == 2
        assert "expected the name of a directory" in capsys.readouterr().err


def test_two_images_of_one_name_are_refused(run: Path, pictures: Path, tmp_path: Path, capsys: Capture):
    twin = tmp_path / "3.png"
    Image.open(pictures / "images" / "3.png").save(twin)
    both = [str(twin), str(pictures / "images" / "3.png")]
    assert main(["predict", *both, "--run", str(run), "--output", str(tmp_path / "out")]) == 2
    assert "would be written to the same file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_exits_are_told_and_drawn(run: Path, tmp_path: Path, capsys: Capture):
    assert main(["exits", str(run), "--save", str(tmp_path / "figure"), "--image", "1"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = {line[0]: line[1:] for line in lines if line and line[0] in ("1", "2", "last")}
    costs = [int(rows[name][0].replace(",", "")) for name in ("1", "2", "last")]
    assert costs == sorted(costs)
    assert rows["last"][1] == "100%"
    assert main(["test", str(run), "--accelerator", "cpu"]) == 0
    told = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  exit")]
    assert [line[:4] for line in told] == [["exit", n, *rows[n][2:4]] for n in ("1", "2")]
    svg = (tmp_path / "figure.svg").read_text()
    assert "exit 1 of 3" in svg
    assert "mask" in svg
    assert main(["exits", str(run), "--save", str(tmp_path / "figure")]) == 2
    assert "figure.svg exists already: choose another --save" in capsys.readouterr().err
    assert main(["exits", str(run), "--save", str(tmp_path / "other"), "--image", "99"]) == 2
    assert "image is 99: expected 0 to 3" in capsys.readouterr().err
    assert main(["exits", str(run), "--image", "1"]) == 2
    assert "save is None" in capsys.readouterr().err


def test_a_network_of_one_head_has_no_exits(tmp_path: Path, capsys: Capture):
    words = ["--model.args.units", "1", "--epochs", "1", "--batch_size", "512", "--accelerator", "cpu"]
    assert main(["fit", *words, "--output", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["exits", str(tmp_path / "sparsenet40_12_digits_1")]) == 2
    assert "has one head" in capsys.readouterr().err
