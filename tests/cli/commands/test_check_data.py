import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipweave_cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("heron", "stork"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def words(photos: Path, *more: str) -> list[str]:
    return ["check-data", "--data.name", "folder", "--data.root", str(photos), "--workers", "0", *more]


def test_good_data_is_said_to_be_well(photos: Path, capsys: Capture):
    assert main(words(photos)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "10 images read: all well"


def test_bad_data_is_listed_on_the_screen_and_in_a_file(photos: Path, tmp_path: Path, capsys: Capture):
    (photos / "heron" / "3.png").write_bytes(b"damaged")
    (photos / "heron" / "notes.txt").touch()
    table = tmp_path / "bad.csv"
    assert main(words(photos, "--save", str(table))) == 2
    shown = capsys.readouterr().out
    assert "heron/3.png" in shown
    assert shown.splitlines()[-1] == "10 images read: 1 bad, 1 notes"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["kind"], Path(row["where"]).name) for row in rows] == [("note", "notes.txt"), ("bad", "3.png")]
    assert rows[1]["problem"].startswith("not a readable image")


def test_kinds_and_values_are_listed(photos: Path, capsys: Capture):
    assert main(words(photos)) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "kind images lowest value highest value" in lines
    assert "8-bit RGB 10 0 4" in lines
    for path in photos.rglob("*.png"):
        Image.fromarray(np.arange(900, 964, dtype=np.uint16).reshape(8, 8)).save(path)
    assert main(words(photos)) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "16-bit gray 10 900 963" in lines
    assert "values from 900 to 963 become 0 to 1 in training (data.range)" in lines


def test_one_class_is_not_well(photos: Path, capsys: Capture):
    shutil.rmtree(photos / "stork")
    assert main(words(photos)) == 2
    assert "folder has one class, heron" in capsys.readouterr().out


@pytest.mark.parametrize("root", ["m", "images", "a/b"])
@pytest.mark.parametrize("given", ["/classes.csv", "/nowhere/classes.csv", "lost.csv", None])
def test_a_missing_class_list_is_named_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, root: str, given: str | None
):
    monkeypatch.chdir(tmp_path)
    for folder in ("images", "masks"):
        (tmp_path / root / folder).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / root / folder / "1.png")
    options = ["--data.classes", given] if given else []
    assert main(["check-data", "--data.name", "masks", "--data.root", root, "--workers", "0", *options]) == 2
    shown = " ".join(capsys.readouterr().out.split())
    assert f"no class list at {given or f'{root}/classes.csv'}" in shown


def test_notes_alone_are_no_failure(photos: Path, capsys: Capture):
    (photos / "heron" / "notes.txt").touch()
    assert main(words(photos)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "10 images read: 0 bad, 1 notes"


def test_the_settings_of_a_run_serve_too(photos: Path, tmp_path: Path, capsys: Capture):
    settings = tmp_path / "fit.yaml"
    settings.write_text(f"model: {{name: sparsenet40_12}}\nepochs: 3\ndata: {{name: folder, root: {photos}}}\n")
    assert main(["check-data", "--config", str(settings), "--workers", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("10 images read")


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--save", "there.csv"], "there.csv exists already"),
        (["--save", "list.txt"], "save is "),
        (["--output", "list.csv"], "save is None"),
        (["--workers", "-1"], "workers is -1"),
        (["--data.name", "fodler"], "did you mean folder?"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, more: list[str], part: str
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("kept")
    assert main(words(photos, *more)) == 2
    shown = capsys.readouterr().err
    assert part in shown
    assert shown.count("\n") == 1
    assert (tmp_path / "there.csv").read_text() == "kept"
