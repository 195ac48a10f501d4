from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data import DataConfig, Finding, load
from skipweave.data.validation import check_dataset
from skipweave.data.validation.check_dataset import check


def folder(root, **options):
    return DataConfig(name="folder", root=root, **options)


def problems(report, root, *, bad=True):
    """What was found, by its place below the root."""
    return {
        finding.place.removeprefix(f"{root}/"): finding.problem for finding in report.findings if finding.bad is bad
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_a_good_folder_is_read_through_and_nothing_told(tmp_path, make_images, workers):
    make_images(tmp_path / "train", {"cat": 3, "ape": 4})
    make_images(tmp_path / "val", {"cat": 2, "ape": 2})
    told = []
    report = check(folder(tmp_path), workers=workers, progress=lambda done, total: told.append((done, total)))
    assert (report.images, report.bad, report.findings) == (11, 0, ())
    assert told == [(done, 11) for done in range(1, 12)]


def test_every_bad_file_of_every_split_is_named(tmp_path, make_images):
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
    report = check(folder(tmp_path))
    assert report.images == 15
    assert set(problems(report, tmp_path)) == {
        "train/cat/0.png",
        "train/cat/1.png",
        "train/cat/2.png",
        "val/ape/7.tif",
        "val/ape/8.webp",
        "val/ape/9.tif",
    }
    assert "the file is empty" in problems(report, tmp_path)["train/cat/0.png"]
    assert problems(report, tmp_path)["train/cat/2.png"] == "no such image file:"
    assert "NaN or infinite" in problems(report, tmp_path)["val/ape/9.tif"]
    assert (
        "32-bit float gray values, but the training images have 8 bits" in problems(report, tmp_path)["val/ape/7.tif"]
    )
    assert "it holds 2 images" in problems(report, tmp_path)["val/ape/8.webp"]


def test_folders_that_do_not_fit_are_named_all_at_once(tmp_path, make_images):
    make_images(tmp_path / "train", {"cat": 2, "ape": 2, "dog": 0})
    make_images(tmp_path / "val", {"cat": 2, "cow": 2})
    (tmp_path / "test").mkdir()
    report = check(folder(tmp_path))
    found = {(finding.place.removeprefix(f"{tmp_path}/"), finding.problem) for finding in report.findings}
    assert found == {
        ("train", "has no class folder cow, which another split has"),
        ("train/dog", "no image in the class folder"),
        ("val", "has no class folder ape, which another split has"),
        ("val", "has no class folder dog, which another split has"),
        ("test", "holds no class folder"),
        *(("test", f"has no class folder {name}, which another split has") for name in ("ape", "cat", "cow", "dog")),
    }
    assert report.bad == len(found)


def test_what_is_passed_over_or_read_all_the_same_is_noted(tmp_path, make_images):
    make_images(tmp_path, {"cat": 5, "Cat": 5})
    for name in ("readme.md", "cat/notes.txt", "cat/.hidden", "stray.png"):
        (tmp_path / name).touch()
    (tmp_path / "cat" / "0.png").rename(tmp_path / "cat" / "0.JPG")
    report = check(folder(tmp_path))
    assert report.bad == 0
    assert problems(report, tmp_path, bad=False) == {
        str(tmp_path): "class folders that differ in case only, read as several classes: Cat, cat",
        "readme.md": "lies in no class folder: passed over",
        "stray.png": "lies in no class folder: passed over",
        "cat/notes.txt": "no image by its name: passed over",
        "cat/0.JPG": "a PNG file named .jpg: read as what it is",
    }


def test_what_only_loading_sees_is_told_too(tmp_path, make_images):
    make_images(tmp_path, {"cat": 2, "ape": 2})
    (finding,) = check(folder(tmp_path, validation=9)).findings
    assert finding.place == str(tmp_path)
    assert "cannot take 9 of 3 images for validation" in finding.problem
    (finding,) = check(folder(tmp_path / "nowhere")).findings
    assert finding.problem.startswith("no such folder:")
    assert finding.bad


def test_what_passes_can_be_trained_on(tmp_path, make_images):
    make_images(tmp_path, {"cat": 6, "ape": 6})
    assert not check(folder(tmp_path)).bad
    data = load(folder(tmp_path, validation=0))
    for part in (data.train, data.test):
        assert all(part[index][0].dtype == torch.uint8 for index in range(len(part)))


def masks(root):
    return DataConfig(name="masks", root=root, validation=0)


def test_label_images_are_checked_with_their_images(tmp_path, make_pairs, class_list):
    for part in ("train", "val"):
        make_pairs(tmp_path / part, ["a", "b", "c", "d", "e"])
    class_list(tmp_path)
    assert check(masks(tmp_path)).findings == ()
    train = tmp_path / "train"
    Image.fromarray(np.full((12, 10), 7, dtype=np.uint8)).save(train / "masks" / "a.png")
    Image.new("L", (7, 5)).save(train / "masks" / "b.png")
    (train / "images" / "c.png").write_bytes(b"no image")
    (train / "masks" / "c.png").write_bytes(b"none either")
    (train / "masks" / "d.png").unlink()
    (train / "images" / "e.png").unlink()
    (train / "images" / "notes.txt").touch()
    report = check(masks(tmp_path))
    found = problems(report, tmp_path)
    assert report.images == 8
    assert found.keys() == {
        f"train/{name}.png" for name in ("masks/a", "masks/b", "images/c", "masks/c", "images/d", "masks/e")
    }
    assert found["train/masks/a.png"].startswith("label image holds the value(s) 7 in 120 of 120 pixels")
    assert found["train/masks/b.png"] == f"is 7 x 5 pixels, its image {train}/images/b.png 10 x 12"
    assert problems(report, tmp_path, bad=False) == {"train/images/notes.txt": "no image by its name: passed over"}


def test_a_set_without_class_list_or_folders_is_told(tmp_path, make_pairs):
    (finding,) = check(masks(tmp_path)).findings
    assert finding.problem.startswith("no train/images with train/masks")
    make_pairs(tmp_path, ["a"])
    (finding,) = check(masks(tmp_path)).findings
    assert finding.problem.startswith("no class list at")


def test_sets_in_memory_are_checked_by_their_reader_and_their_labels(monkeypatch, tmp_path):
    assert check(DataConfig()).images == 1797
    (finding,) = check(DataConfig(name="mnist", root=tmp_path)).findings
    assert "cannot read data set 'mnist'" in finding.problem
    data = load(DataConfig())
    data.test.labels[3] = 10
    for module in (check_dataset, check_dataset.survey.__globals__):
        monkeypatch.setitem(vars(module) if module is check_dataset else module, "load", lambda config: data)
    assert check(DataConfig()).findings == (Finding("digits, test, image 3", "has label 10: expected 0 to 9"),)


def test_imagenet_is_read_file_by_file(tmp_path, make_images):
    make_images(tmp_path / "train", {"n01": 3, "n02": 4})
    make_images(tmp_path / "val", {"n01": 2, "n02": 2})
    torch.save(({"n01": ("crane", "bird"), "n02": ("crane",)}, ["n01", "n02"]), tmp_path / "meta.bin")
    (tmp_path / "val" / "n02" / "1.png").write_bytes(b"x")
    report = check(DataConfig(name="imagenet", root=tmp_path, validation=0))
    assert report.images == 11
    assert list(problems(report, tmp_path)) == ["val/n02/1.png"]


def test_the_order_in_which_the_disk_lists_files_does_not_matter(
    tmp_path, make_images, make_pairs, class_list, monkeypatch
):
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
            found.append((check(config).findings, [image.sum() for image, _ in data.train], data.classes))
    assert all(len(findings) >= 3 for findings, *_ in found)
    assert found[:2] == found[2:]
