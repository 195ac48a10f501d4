"""Datasets of the Hugging Face Hub, from local directories: nothing is downloaded."""

import sys

import numpy as np
import pytest
from PIL import Image

from skipweave.data import DataConfig, load
from skipweave_config.errors import SkipweaveError
from tests.data.training_batch import training_batch


def hub(path, **options):
    return DataConfig(name="hub", hub=str(path), image_size=16, **options)


def test_without_the_package_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SkipweaveError, match=r"skipweave\[hub\]"):
        load(hub("user/set"))


def table(labels, several=False):
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["ape", "cow", "hen"])
    features = {"picture": datasets.Image(), "kind": datasets.Sequence(names) if several else names}
    pictures = [Image.fromarray(np.full((20, 24, 3), 10 * place, np.uint8)) for place in range(len(labels))]
    return datasets.Dataset.from_dict({"picture": pictures, "kind": labels}, features=datasets.Features(features))


def test_a_saved_dataset_keeps_its_splits(tmp_path):
    datasets = pytest.importorskip("datasets")
    splits = {"train": table([0, 1, 2, 0]), "validation": table([1]), "test": table([2, 2])}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    data = load(hub(tmp_path / "saved"))
    assert data.classes == ("ape", "cow", "hen")
    assert [part.labels.tolist() for part in (data.train, data.val, data.test)] == [[0, 1, 2, 0], [1], [2, 2]]
    image, label = data.train[1]
    assert (image.shape, image.max().item(), label) == ((3, 20, 24), 10, 1)
    assert training_batch(data.train_transform, [image]).shape == (1, 3, 16, 16)


def test_a_dataset_of_one_split_is_divided(tmp_path):
    table([0, 1] * 10).save_to_disk(str(tmp_path / "saved"))
    data = load(hub(tmp_path / "saved"))
    assert [len(part) for part in (data.train, data.val, data.test)] == [14, 2, 4]


def test_lists_of_labels_are_several_labels(tmp_path):
    table([[0, 2], [1], [], [0]], several=True).save_to_disk(str(tmp_path / "saved"))
    data = load(hub(tmp_path / "saved", validation=0))
    assert data.multi_label
    assert data.class_counts[0] >= 1


def test_a_directory_of_images_is_loaded_by_its_format(tmp_path, make_images):
    pytest.importorskip("datasets")
    make_images(tmp_path / "set" / "train", {"cat": 4, "ape": 4})
    make_images(tmp_path / "set" / "test", {"cat": 2, "ape": 2})
    data = load(hub(tmp_path / "set", root=tmp_path / "cache", validation=2))
    assert data.classes == ("ape", "cat")
    assert [len(part) for part in (data.train, data.val, data.test)] == [6, 2, 4]


def test_other_datasets_raise(tmp_path):
    datasets = pytest.importorskip("datasets")
    with pytest.raises(SkipweaveError, match="nowhere"):
        load(hub(tmp_path / "nowhere"))
    datasets.Dataset.from_dict({"text": ["a"], "label": [1]}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(SkipweaveError, match="text, label"):
        load(hub(tmp_path / "saved"))
    datasets.DatasetDict({"test": table([0, 1])}).save_to_disk(str(tmp_path / "tests"))
    with pytest.raises(SkipweaveError, match="splits test"):
        load(hub(tmp_path / "tests"))
