from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data import DataConfig, load
from skipweave.data.validation import check_dataset as check_module
from skipweave.data.validation import folder_checks
from skipweave.data.validation.check_dataset import check_dataset
from tests.errors import assert_reports


def folder(root, **options):
    return DataConfig(name="folder", root=root, **options)


def problems(report, root, *, bad=True):
    """Problems by place, relative to the root."""
    return {
        finding.place.removeprefix(f"{root}/"): finding.problem for finding in report.findings if finding.bad is bad
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_a_good_folder_has_no_findings(tmp_path, make_images, workers):
    make_images(tmp_path / "train", {"cat": 3, "ape": 4})
    make_images(tmp_path / "val", {"cat": 2, "ape": 2})
    calls = []
    report = check_dataset(folder(tmp_path), workers=workers, progress=lambda done, total: calls.append((done, total)))
    assert (report.images, report.bad, report.findings) == (11, 0, ())
    assert calls == [(done, 11) for done in range(1, 12)]


def test_every_bad_file_of_every_split_is_found(tmp_path, make_images):
    make_images(tmp_path / "train", {"cat": 4, "ape": 4})
    make_images(tmp_path / "val", {"cat": 2, "ape": 2})
    cat = tmp_path / "train" / "cat"
    (cat / "0.png").write_bytes(b"")
    (cat / "1.png").write_bytes((cat / "1.png").read_bytes()[:-20])
    (cat / "2.png").unlink()
    (cat / "2.png").symlink_to("nowhere")
    Image.new("F", (4, 4), float("nan")).save(tmp_path / "val" / "ape" / "9.tif")
    Image.new("F", (4, 4), 0.5).save(tmp_path / "val" / "ape" / "7.tif")
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "val" / "ape" / "8.webp", save_all=True, append_images=frames[1:])
    report = check_dataset(folder(tmp_path))
    assert report.images == 15
    assert set(problems(report, tmp_path)) == {
        "train/cat/0.png",
        "train/cat/1.png",
        "train/cat/2.png",
        "val/ape/7.tif",
        "val/ape/8.webp",
        "val/ape/9.tif",
    }
    assert_reports(problems(report, tmp_path)["train/cat/0.png"], "empty")
    assert "32-bit float gray" in problems(report, tmp_path)["val/ape/9.tif"]
    assert "32-bit float gray" in problems(report, tmp_path)["val/ape/7.tif"]
    assert "2 images" in problems(report, tmp_path)["val/ape/8.webp"]


def test_all_problems_of_folders_are_found(tmp_path, make_images):
    make_images(tmp_path / "train", {"cat": 2, "ape": 2, "dog": 0})
    make_images(tmp_path / "val", {"cat": 2, "cow": 2})
    (tmp_path / "test").mkdir()
    report = check_dataset(folder(tmp_path))
    found = {(finding.place.removeprefix(f"{tmp_path}/"), finding.problem) for finding in report.findings}
    places = Counter(place for place, _ in found)
    assert places == {"train": 1, "train/dog": 1, "val": 2, "test": 5}
    missing = [("train", "cow"), ("val", "ape"), ("val", "dog"), *product(["test"], ("ape", "cat", "cow", "dog"))]
    for place, name in missing:
        assert any(place == other and name in problem for other, problem in found)
    assert report.bad == len(found)


def test_ignored_and_misnamed_files_are_noted(tmp_path, make_images):
    make_images(tmp_path, {"cat": 5, "Cat": 5})
    for name in ("readme.md", "cat/notes.txt", "cat/.hidden", "stray.png"):
        (tmp_path / name).touch()
    (tmp_path / "cat" / "0.png").rename(tmp_path / "cat" / "0.JPG")
    report = check_dataset(folder(tmp_path))
    assert report.bad == 0
    notes = problems(report, tmp_path, bad=False)
    assert notes.keys() == {"readme.md", "stray.png", "cat/notes.txt", "cat/0.JPG"}
    assert_reports(notes["cat/0.JPG"], "PNG", ".jpg")


def test_problems_of_loading_are_found(tmp_path, make_images):
    make_images(tmp_path, {"cat": 2, "ape": 2})
    (finding,) = check_dataset(folder(tmp_path, validation=9)).findings
    assert finding.place == str(tmp_path)
    assert_reports(finding.problem, 9, 3, "validation")
    (finding,) = check_dataset(folder(tmp_path / "nowhere")).findings
    assert finding.place == str(tmp_path / "nowhere")
    assert finding.bad


def test_a_dataset_without_findings_can_be_loaded(tmp_path, make_images):
    make_images(tmp_path, {"cat": 6, "ape": 6})
    assert not check_dataset(folder(tmp_path)).bad
    data = load(folder(tmp_path, validation=0))
    for part in (data.train, data.test):
        assert all(part[index][0].dtype == torch.uint8 for index in range(len(part)))


def masks(root):
    return DataConfig(name="masks", root=root, validation=0)


def test_masks_are_checked_with_their_images(tmp_path, make_pairs, class_list):
    for part in ("train", "val"):
        make_pairs(tmp_path / part, ["a", "b", "c", "d", "e"])
    class_list(tmp_path)
    assert check_dataset(masks(tmp_path)).findings == ()
    train = tmp_path / "train"
    Image.fromarray(np.full((12, 10), 7, dtype=np.uint8)).save(train / "masks" / "a.png")
    Image.new("L", (7, 5)).save(train / "masks" / "b.png")
    (train / "images" / "c.png").write_bytes(b"no image")
    (train / "masks" / "c.png").write_bytes(b"none either")
    (train / "masks" / "d.png").unlink()
    (train / "images" / "e.png").unlink()
    (train / "images" / "notes.txt").touch()
    report = check_dataset(masks(tmp_path))
    found = problems(report, tmp_path)
    assert report.images == 8
    assert found.keys() == {
        f"train/{name}.png" for name in ("masks/a", "masks/b", "images/c", "masks/c", "images/d", "masks/e")
    }
    assert_reports(found["train/masks/a.png"], 7, 120)
    assert_reports(found["train/masks/b.png"], "7 x 5", train / "images" / "b.png", "10 x 12")
    assert problems(report, tmp_path, bad=False).keys() == {"train/images/notes.txt"}


def test_a_missing_class_list_or_folder_is_found(tmp_path, make_pairs):
    (finding,) = check_dataset(masks(tmp_path)).findings
    assert_reports(finding.problem, "train/images", "train/masks")
    make_pairs(tmp_path, ["a"])
    (finding,) = check_dataset(masks(tmp_path)).findings
    assert_reports(finding.problem, "classes.csv")


def test_datasets_in_memory_are_checked_by_their_labels(monkeypatch, tmp_path):
    assert check_dataset(DataConfig()).images == 1797
    (finding,) = check_dataset(DataConfig(name="mnist", root=tmp_path)).findings
    assert "'mnist'" in finding.problem
    data = load(DataConfig())
    data.test.labels[3] = 10
    for module in (check_module, folder_checks):
        monkeypatch.setattr(module, "load", lambda config: data)
    (finding,) = check_dataset(DataConfig()).findings
    assert finding.place == "digits, test, image 3"
    assert_reports(finding.problem, "label", 10, 0, 9)


def test_imagenet_is_checked_file_by_file(tmp_path, make_images):
    make_images(tmp_path / "train", {"n01": 3, "n02": 4})
    make_images(tmp_path / "val", {"n01": 2, "n02": 2})
    torch.save(({"n01": ("crane", "bird"), "n02": ("crane",)}, ["n01", "n02"]), tmp_path / "meta.bin")
    (tmp_path / "val" / "n02" / "1.png").write_bytes(b"x")
    report = check_dataset(DataConfig(name="imagenet", root=tmp_path, validation=0))
    assert report.images == 11
    assert list(problems(report, tmp_path)) == ["val/n02/1.png"]


def test_the_order_of_directory_entries_does_not_matter(tmp_path, make_images, make_pairs, class_list, monkeypatch):
    make_images(tmp_path / "folder" / "train", {"cat": 4, "ape": 4})
    make_pairs(tmp_path / "masks", [f"{number}" for number in range(12)])
    class_list(tmp_path / "masks")
    for place in ("folder/train", "folder/train/cat", "masks/images"):
        for name in ("d.txt", "b.txt", "c.txt"):
            (tmp_path / place / name).touch()
    configs = [folder(tmp_path / "folder"), DataConfig(name="masks", root=tmp_path / "masks", crop=8, validation=4)]
    listed, found = Path.iterdir, []
    for backwards in (False, True):
        monkeypatch.setattr(Path, "iterdir", lambda place, order=backwards: iter(sorted(listed(place), reverse=order)))
        for config in configs:
            data = load(config)
            found.append((check_dataset(config).findings, [image.sum() for image, _ in data.train], data.classes))
    assert all(len(findings) >= 3 for findings, *_ in found)
    assert found[:2] == found[2:]
