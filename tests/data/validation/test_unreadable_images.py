import numpy as np
import pytest
import torch

from skipweave.data import DataConfig, check_readable, epoch_loader, exclude, find_unreadable, load
from tests.errors import assert_each_reports, assert_reports, raises


@pytest.fixture
def damaged(tmp_path, make_images):
    """Two classes of six images with one damaged file each, and a validation split."""
    make_images(tmp_path / "train", {"ape": 6, "cat": 6})
    make_images(tmp_path / "val", {"ape": 2, "cat": 2})
    (tmp_path / "train" / "ape" / "2.png").write_bytes(b"no image")
    (tmp_path / "train" / "cat" / "5.png").write_bytes(b"")
    return load(DataConfig(name="folder", root=tmp_path, image_size=16, on_bad="skip"))


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_found_with_their_problem(damaged, workers):
    calls = []
    found = find_unreadable(damaged.train, range(12), workers=workers, progress=lambda *done: calls.append(done))
    assert [(image.index, image.file) for image in found] == [
        (2, damaged.train.paths[2]),
        (11, damaged.train.paths[11]),
    ]
    assert "none of JPEG" in found[0].problem
    assert "the file is empty" in found[1].problem
    assert calls[-1] == (12, 12)


def test_ranks_find_the_same_images_together(damaged):
    parts = [find_unreadable(damaged.train, range(rank, 12, 2)) for rank in (0, 1)]
    assert sorted([*parts[0], *parts[1]]) == find_unreadable(damaged.train, range(12))
    assert [len(part) for part in parts] == [1, 1]


def test_batches_are_those_of_a_folder_without_the_files(tmp_path, damaged):
    clean = exclude(damaged, find_unreadable(damaged.train, range(12)))
    for name in ("ape/2.png", "cat/5.png"):
        (tmp_path / "train" / name).unlink()
    other = load(DataConfig(name="folder", root=tmp_path, image_size=16))
    assert clean.train.paths == other.train.paths
    options = {"batch_size": 4, "seed": 1, "epoch": 2, "shuffle": True}
    expected = list(epoch_loader(other.train, other.train_transform, **options))
    for workers in (0, 2):
        ours = list(epoch_loader(clean.train, clean.train_transform, workers=workers, **options))
        assert all(torch.equal(a, b) for pair in zip(ours, expected, strict=True) for a, b in zip(*pair, strict=True))


def test_data_in_memory_does_not_change():
    data = load(DataConfig())
    assert find_unreadable(data.train, range(5)) == []
    assert exclude(data, []) is data


def test_a_class_without_readable_images_raises(tmp_path, damaged):
    for path in damaged.train.paths[:6]:
        with open(path, "wb"):
            pass
    with raises("ape"):
        exclude(damaged, find_unreadable(damaged.train, range(12)))
    for path in damaged.train.paths:
        with open(path, "wb"):
            pass
    with raises(12, "folder"):
        exclude(damaged, find_unreadable(damaged.train, range(12)))


def test_unreadable_images_of_evaluation_raise(damaged):
    check_readable("validation", [])
    with raises(2, "validation"):
        check_readable("validation", find_unreadable(damaged.train, range(12)))


def test_bad_pairs_are_skipped_in_training_and_raise_in_evaluation(tmp_path, make_pairs, class_list):
    for part in ("train", "val"):
        make_pairs(tmp_path / part, ["a", "b", "c", "d"])
    class_list(tmp_path)
    train = tmp_path / "train"
    (train / "images" / "a.png").write_bytes(b"")
    np.save(train / "masks" / "b", np.zeros(3))
    (train / "masks" / "b.npy").rename(train / "masks" / "b.png")
    make_pairs(train, ["c"], size=(5, 5))
    (train / "masks" / "c.png").write_bytes((tmp_path / "val" / "masks" / "c.png").read_bytes())
    with raises(train / "images" / "a.png"):
        load(DataConfig(name="masks", root=tmp_path))
    data = load(DataConfig(name="masks", root=tmp_path, on_bad="skip"))
    found = find_unreadable(data.train, range(4))
    assert [image.index for image in found] == [0, 1, 2]
    assert_reports(found[2].problem, "5 x 5", "10 x 12")
    clean = exclude(data, found)
    assert [data.train.pairs[3]] == list(clean.train.pairs)
    (tmp_path / "val" / "masks" / "a.png").write_bytes(b"")
    with raises(tmp_path / "val" / "masks" / "a.png"):
        load(DataConfig(name="masks", root=tmp_path, on_bad="skip"))


def test_unpaired_files_are_skipped_in_training_and_raise_in_evaluation(tmp_path, make_pairs, class_list):
    for part in ("train", "val"):
        make_pairs(tmp_path / part, ["a", "b", "c.d"])
    class_list(tmp_path)
    train = tmp_path / "train"
    complete = load(DataConfig(name="masks", root=tmp_path)).train.pairs
    (train / "masks" / "a.png").unlink()
    (train / "images" / "c.d.png").unlink()
    with raises(2, train / "images" / "a.png", train / "masks" / "c.d.png"):
        load(DataConfig(name="masks", root=tmp_path))
    data = load(DataConfig(name="masks", root=tmp_path, on_bad="skip"))
    found = find_unreadable(data.train, range(3))
    files = [train / "images" / "a.png", train / "images" / "c.d.png"]
    assert [(image.index, image.file) for image in found] == list(zip((1, 2), map(str, files), strict=True))
    assert_each_reports([image.problem for image in found], (train / "masks" / "a.png",), (files[1],))
    assert exclude(data, found).train.pairs == complete[1:2]
    (train / "masks" / "b.jpg").write_bytes(b"")  # ambiguous
    with raises(1, train / "masks" / "b.png"):
        load(DataConfig(name="masks", root=tmp_path, on_bad="skip"))
    (train / "masks" / "b.jpg").unlink()
    (tmp_path / "val" / "masks" / "a.png").unlink()
    with raises(tmp_path / "val" / "images" / "a.png"):
        load(DataConfig(name="masks", root=tmp_path, on_bad="skip"))


def test_other_policies_raise():
    with raises("on_bad", "'ignore'"):
        DataConfig(on_bad="ignore")


def test_images_of_several_labels_are_left_out(tmp_path, damaged):
    files = [path.relative_to(tmp_path) for path in sorted((tmp_path / "train").rglob("*.png"))]
    rows = [f"{path},{int(number < 11)},{int(number == 11)}" for number, path in enumerate(files)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,many,last", *rows]))
    config = DataConfig(name="csv", labels=tmp_path / "labels.csv", image_size=16, on_bad="skip", test=0, validation=0)
    data = load(config)
    found = find_unreadable(data.train, range(12))
    assert len(exclude(data, found[:1]).train) == 11
    with raises("last"):  # its one image is damaged
        exclude(data, found)
