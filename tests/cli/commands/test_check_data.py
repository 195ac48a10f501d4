import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipweave_cli import main
from tests.errors import assert_reports

Capture = pytest.CaptureFixture[str]
Rejects = Callable[..., None]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for place, name in enumerate(("heron", "stork")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (8, 8), (number, place, 0)).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def words(photos: Path, *more: str) -> list[str]:
    return ["check-data", "--data.name", "folder", "--data.root", str(photos), "--workers", "0", *more]


def test_data_without_problems(photos: Path, capsys: Capture):
    assert main(words(photos)) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("10 images")


def test_bad_data_is_printed_and_saved(photos: Path, tmp_path: Path, capsys: Capture):
    (photos / "heron" / "3.png").write_bytes(b"damaged")
    (photos / "heron" / "notes.txt").touch()
    table = tmp_path / "bad.csv"
    assert main(words(photos, "--save", str(table))) == 2
    shown = capsys.readouterr().out
    assert "heron/3.png" in shown
    assert_reports(shown.splitlines()[-1], "10 images", "1 bad", "1 note")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["kind"], Path(row["where"]).name) for row in rows] == [("note", "notes.txt"), ("bad", "3.png")]
    assert rows[1]["problem"]


def test_kinds_and_values_are_listed(photos: Path, capsys: Capture):
    assert main(words(photos)) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "8-bit RGB 10 0 4" in lines
    for path in photos.rglob("*.png"):
        Image.fromarray(np.arange(900, 964, dtype=np.uint16).reshape(8, 8)).save(path)
    assert main(words(photos)) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "16-bit gray 10 900 963" in lines
    assert any("data.range" in line and "900" in line and "963" in line for line in lines)


def test_a_single_class_is_reported(photos: Path, capsys: Capture):
    shutil.rmtree(photos / "stork")
    assert main(words(photos)) == 2
    assert "heron" in capsys.readouterr().out


@pytest.mark.parametrize("root", ["m", "images", "a/b"])
@pytest.mark.parametrize("given", ["/classes.csv", "/nowhere/classes.csv", "lost.csv", None])
def test_the_path_of_a_missing_class_list_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, root: str, given: str | None
):
    monkeypatch.chdir(tmp_path)
    for folder in ("images", "masks"):
        (tmp_path / root / folder).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / root / folder / "1.png")
    options = ["--data.classes", given] if given else []
    assert main(["check-data", "--data.name", "masks", "--data.root", root, "--workers", "0", *options]) == 2
    shown = " ".join(capsys.readouterr().out.split())
    assert str(given or f"{root}/classes.csv") in shown


def test_notes_do_not_change_the_exit_status(photos: Path, capsys: Capture):
    (photos / "heron" / "notes.txt").touch()
    assert main(words(photos, "--data.validation", "0")) == 0
    assert_reports(capsys.readouterr().out.splitlines()[-1], "10 images", "0 bad", "1 note")


def test_what_fit_warns_of_is_noted(photos: Path, tmp_path: Path, capsys: Capture):
    for number in range(30):
        Image.new("RGB", (8, 8), (number, 9, 9)).save(photos / "heron" / f"x{number}.png")
    (photos / "Heron").mkdir()
    (photos / "herron").mkdir()
    for name in ("Heron", "herron"):
        Image.new("RGB", (8, 8), (0, 0, len(name))).save(photos / name / "0.png")
    table = tmp_path / "notes.csv"
    assert main(words(photos, "--data.validation", "0.001", "--save", str(table))) == 0
    with table.open(newline="") as file:
        notes = [row["problem"] for row in csv.DictReader(file) if row["where"] == str(photos)]
    none, test, case, misspelled, imbalance = notes
    assert_reports(none, "validation", 0.001)
    assert_reports(test, "test", "Heron", "herron")
    assert_reports(case, "Heron", "heron")
    assert_reports(misspelled, "heron", "herron", 1)
    assert_reports(imbalance, "heron", "data.sampling balanced")


def test_a_split_without_any_label_is_bad(photos: Path, tmp_path: Path, capsys: Capture):
    rows = [f"heron/{number}.png,{int(number < 3)},{'train' if number < 4 else 'test'}" for number in range(5)]
    (photos / "labels.csv").write_text("\n".join(["path,sick,split", *rows]))
    labels = ["check-data", "--data.name", "csv", "--data.labels", str(photos / "labels.csv"), "--workers", "0"]
    assert main([*labels, "--data.validation", "0"]) == 2
    assert "sick" in capsys.readouterr().out


def test_a_few_images_that_look_alike_are_printed_and_all_saved(tmp_path: Path, capsys: Capture):
    for split in ("train", "test"):
        for name in ("heron", "stork"):
            (tmp_path / split / name).mkdir(parents=True)
    for number in range(10):
        small = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((40, 40), Image.Resampling.BICUBIC)
        image.save(tmp_path / "train" / ("heron" if number % 2 else "stork") / f"{number}.png")
        image.resize((80, 80)).save(tmp_path / "test" / ("heron" if number % 2 else "stork") / f"{number}.png")
    table = tmp_path / "notes.csv"
    assert main(words(tmp_path, "--save", str(table))) == 0
    shown = capsys.readouterr().out
    assert shown.count("looks like") == 3
    assert_reports(next(line for line in shown.splitlines() if "--save" in line), 10, 3)
    assert table.read_text().count("looks like") == 10


def test_the_config_of_a_run_is_accepted(photos: Path, tmp_path: Path, capsys: Capture):
    settings = tmp_path / "fit.yaml"
    settings.write_text(f"model: {{name: sparsenet40_12}}\nepochs: 3\ndata: {{name: folder, root: {photos}}}\n")
    assert main(["check-data", "--config", str(settings), "--workers", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("10 images")


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--save", "there.csv"], ["there.csv"]),
        (["--save", "list.txt"], ["save", "list.txt"]),
        (["--output", "list.csv"], ["output", "save", None]),
        (["--workers", "-1"], ["workers", -1]),
        (["--data.name", "fodler"], ["data.name", "'fodler'", "folder"]),
    ],
)
def test_invalid_values_are_rejected(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rejects: Rejects,
    more: list[str],
    named: list[object],
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("kept")
    rejects(words(photos, *more), *named)
    assert (tmp_path / "there.csv").read_text() == "kept"
