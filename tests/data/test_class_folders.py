from pathlib import Path

import pytest
import torch

from skipweave.data import DataConfig, epoch_loader, load
from tests.errors import raises


def config(root, **options):
    return DataConfig(name="folder", root=root, image_size=16, **options)


def test_images_come_by_folder_then_by_name(tmp_path, make_images):
    make_images(tmp_path / "train", {"cat/b": 2, "cat/a": 1, "ape": 11})
    data = load(config(tmp_path, validation=0))
    names = [str(Path(path).relative_to(tmp_path / "train")) for path in data.train.paths]
    assert names == sorted(names)
    assert names[-3:] == ["cat/a/0.png", "cat/b/0.png", "cat/b/1.png"]


def test_class_folders_are_split_by_seed(tmp_path, make_images):
    make_images(tmp_path, {"cat": 10, "ape": 20, "dog": 15})
    data = load(config(tmp_path))
    assert data.classes == ("ape", "cat", "dog")
    assert [len(part) for part in (data.train, data.val, data.test)] == [32, 4, 9]
    paths = [*data.train.paths, *data.val.paths, *data.test.paths]
    assert len(set(paths)) == 45
    assert load(config(tmp_path)).test.paths == data.test.paths
    assert load(config(tmp_path, split_seed=1)).test.paths != data.test.paths


def test_labels_are_the_class_folders(tmp_path, make_images):
    make_images(tmp_path, {"cat": 3, "ape": 4})
    data = load(config(tmp_path, validation=0))
    assert data.val is None
    for part in (data.train, data.test):
        assert [Path(path).parent.name for path in part.paths] == [data.classes[label] for label in part.labels]


def test_images_of_all_sizes_make_batches(tmp_path, make_images):
    make_images(tmp_path, {"cat": 6, "ape": 6})
    data = load(config(tmp_path, validation=0))
    for transform in (data.train_transform, data.eval_transform):
        loader = epoch_loader(data.train, transform, batch_size=4, seed=0, epoch=0, shuffle=True)
        assert torch.cat([images for images, _ in loader]).shape == (10, 3, 16, 16)


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        ({"train": 8}, (12, 4, None)),
        ({"train": 8, "test": 5}, (12, 4, 10)),
        ({"train": 8, "val": 3}, (16, 6, None)),
        ({"train": 8, "val": 3, "test": 5}, (16, 6, 10)),
    ],
)
def test_given_splits_are_kept(tmp_path, make_images, given, sizes):
    for part, count in given.items():
        make_images(tmp_path / part, {"cat": count, "ape": count})
    data = load(config(tmp_path, validation=4))
    assert tuple(part and len(part) for part in (data.train, data.val, data.test)) == sizes


def test_hidden_files_and_folders_are_ignored(tmp_path, make_images):
    make_images(tmp_path, {"cat": 5, "ape": 5, ".cache": 5})
    (tmp_path / "cat" / "._0.png").touch()
    data = load(config(tmp_path, validation=0))
    assert data.classes == ("ape", "cat")
    assert len(data.train) + len(data.test) == 10


def test_cyclic_links_end(tmp_path, make_images):
    make_images(tmp_path, {"cat": 3, "ape": 3})
    (tmp_path / "cat" / "self").symlink_to(tmp_path / "cat")
    (tmp_path / "cat" / "up").symlink_to(tmp_path)
    (tmp_path / "round").symlink_to("round")
    data = load(config(tmp_path, validation=0))
    assert data.classes == ("ape", "cat")
    own = [path for part in (data.train, data.test) for path in part.paths if "up" not in Path(path).parts]
    assert len(own) == len(set(own)) == 6


def test_a_missing_folder_raises(tmp_path):
    with raises(tmp_path / "nowhere"):
        load(config(tmp_path / "nowhere"))


def test_a_folder_without_classes_raises(tmp_path):
    with raises(tmp_path):
        load(config(tmp_path))
    (tmp_path / "train").mkdir()
    with raises(tmp_path / "train"):
        load(config(tmp_path))


def test_an_empty_class_is_named(tmp_path, make_images):
    make_images(tmp_path, {"cat": 2, "ape": 0, "dog": 0})
    with raises("ape, dog"):
        load(config(tmp_path))


def test_splits_must_have_the_same_classes(tmp_path, make_images):
    make_images(tmp_path / "train", {"cat": 2, "ape": 2, "dog": 2})
    make_images(tmp_path / "val", {"cat": 2, "ape": 2, "cow": 2, "hen": 2})
    with raises("val", 4, "train", 3, "cow, dog, hen"):
        load(config(tmp_path))


def test_splits_without_train_raise(tmp_path, make_images):
    make_images(tmp_path / "val", {"cat": 2})
    make_images(tmp_path / "test", {"cat": 2})
    with raises(tmp_path, "train"):
        load(config(tmp_path))


def test_too_many_validation_images_raise(tmp_path, make_images):
    make_images(tmp_path / "train", {"cat": 2, "ape": 3})
    with raises(10, 5):
        load(config(tmp_path, validation=10))
