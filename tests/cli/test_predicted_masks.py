"""Segmentation from the command line: train, predict masks, compare the exits."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipweave_cli import main

Capture = pytest.CaptureFixture[str]
Rejects = Callable[..., None]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images with bright sky in the upper half and dark ground in the lower half, with their masks."""
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


def test_scores_of_each_class_are_printed(run: Path, capsys: Capture):
    assert main(["test", str(run)]) == 0
    first, *lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert "mIoU" in first
    rows = {line[0]: line[1:] for line in lines if line[0] in ("class", "sky", "ground")}
    assert [word for word in rows["class"] if word != "%"] == ["pixels", "precision", "recall", "Dice", "IoU"]
    assert len(rows["ground"]) == 5
    assert float(rows["sky"][-1]) > 80  # so plain a picture is learned at once
    assert [line[1] for line in lines if line[0] == "exit"] == ["1", "2"]


def test_predictions_are_masks_and_overlays(
    run: Path, pictures: Path, tmp_path: Path, capsys: Capture, rejects: Rejects
):
    out = tmp_path / "out"
    odd = tmp_path / "odd.png"
    Image.open(pictures / "images" / "3.png").resize((31, 17)).save(odd)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    words = ["predict", str(odd), str(broken), "--run", str(run), "--output", str(out)]
    assert main(words) == 2
    shown = capsys.readouterr()
    assert str(broken) in shown.err
    assert "sky" in shown.out
    assert {path.name for path in out.iterdir()} == {"odd_labels.png", "odd_overlay.png"}
    with Image.open(out / "odd_labels.png") as labels:
        assert (labels.size, labels.mode) == ((31, 17), "P")
        assert labels.getpalette()[:6] == [90, 140, 250, 120, 80, 40]
        assert (np.asarray(labels)[0] == 0).mean() > 0.8
        assert (np.asarray(labels)[-1] == 1).mean() > 0.8
    rejects(words, out / "odd_labels.png")
    for other in ("new.csv", odd):
        rejects([*words[:-1], other], "output", other)


def test_soft_masks_are_probabilities(run: Path, pictures: Path, tmp_path: Path, rejects: Rejects):
    words = ["predict", str(pictures / "images" / "3.png"), "--run", str(run), "--soft_masks", "true", "--tta", "flip"]
    out = tmp_path / "out"
    assert main([*words, "--output", str(out)]) == 0
    sky, ground = (np.asarray(Image.open(out / f"3_probability_{label}.png")).astype(int) for label in (0, 1))
    assert sky.shape == (16, 24)
    assert abs(sky + ground - 65535).max() <= 1
    labels = np.asarray(Image.open(out / "3_labels.png"))
    assert ((ground > sky) == labels)[sky != ground].all()
    rejects([*words[:-1], "flip_shift", "--output", tmp_path / "other"], "tta", "'flip_shift'")


def test_two_images_of_one_name_are_rejected(run: Path, pictures: Path, tmp_path: Path, rejects: Rejects):
    twin = tmp_path / "3.png"
    Image.open(pictures / "images" / "3.png").save(twin)
    both = [twin, pictures / "images" / "3.png"]
    rejects(["predict", *both, "--run", run, "--output", tmp_path / "out"], *both)
    assert not (tmp_path / "out").exists()


def test_exits_are_printed_and_drawn(run: Path, tmp_path: Path, capsys: Capture, rejects: Rejects):
    assert main(["exits", str(run), "--save", str(tmp_path / "figure"), "--image", "1"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = {line[0]: line[1:] for line in lines if line and line[0] in ("1", "2", "last")}
    costs = [int(rows[name][0].replace(",", "")) for name in ("1", "2", "last")]
    assert costs == sorted(costs)
    assert rows["last"][1] == "100%"
    assert main(["test", str(run), "--accelerator", "cpu"]) == 0
    exits = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  exit")]
    assert [line[:4] for line in exits] == [["exit", n, *rows[n][2:4]] for n in ("1", "2")]
    svg = (tmp_path / "figure.svg").read_text()
    assert "exit 1 of 3" in svg
    assert "mask" in svg
    rejects(["exits", run, "--save", tmp_path / "figure"], tmp_path / "figure.svg", "--save")
    rejects(["exits", run, "--save", tmp_path / "other", "--image", "99"], "image", 99, 0, 3)
    rejects(["exits", run, "--image", "1"], "save", None)


def test_a_network_with_one_head_has_no_exits(tmp_path: Path, rejects: Rejects):
    words = ["--model.args.units", "1", "--epochs", "1", "--batch_size", "512", "--accelerator", "cpu"]
    assert main(["fit", *words, "--output", str(tmp_path)]) == 0
    run = tmp_path / "sparsenet40_12_digits_1"
    rejects(["exits", run], run, "--model.args.heads")
