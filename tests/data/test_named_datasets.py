import gzip
import hashlib
import pickle
import struct

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision import datasets

from skipweave.data import DataConfig, load
from skipweave.data.named_datasets import read
from tests.errors import raises

RNG = np.random.default_rng(0)


def bytes_of(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.md5(content).hexdigest()


def test_digits_are_split_the_same_way_every_time():
    splits, again, other = (load(DataConfig(split_seed=seed, validation=0)) for seed in (0, 0, 1))
    assert (len(splits.train), len(splits.test), splits.val) == (1438, 359, None)
    assert splits.train[0][0].shape == (1, 8, 8)
    assert splits.train[0][0].dtype == torch.uint8
    assert torch.equal(splits.test.images, again.test.images)
    assert not torch.equal(splits.test.images, other.test.images)
    assert np.ptp(np.bincount(splits.test.labels)) <= 2


def test_digits_keep_all_their_gray_levels():
    levels = read(DataConfig()).train.images.unique()
    assert levels.tolist() == [round(level * 255 / 16) for level in range(17)]


def test_mnist_is_loaded_from_the_layout_of_torchvision(tmp_path):
    images, labels = bytes_of(6, 28, 28), np.arange(6, dtype=np.uint8)
    for part in ("train", "t10k"):
        raw = tmp_path / "MNIST" / "raw"
        write(raw / f"{part}-images-idx3-ubyte", struct.pack(">4i", 2051, 6, 28, 28) + images.tobytes())
        write(raw / f"{part}-labels-idx1-ubyte", struct.pack(">2i", 2049, 6) + labels.tobytes())
    splits = read(DataConfig(name="mnist", root=tmp_path))
    assert splits.classes == tuple("0123456789")
    for part in (splits.train, splits.test):
        assert np.array_equal(part.images.numpy(), images[:, None])
        assert np.array_equal(part.labels, labels)


@pytest.mark.parametrize(("name", "key"), [("cifar10", "labels"), ("cifar100", "fine_labels")])
def test_cifar_is_loaded_from_the_layout_of_torchvision(tmp_path, monkeypatch, name, key):
    reader = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    folder = tmp_path / reader.base_folder
    images = bytes_of(4, 3, 32, 32)
    batch = pickle.dumps({"data": images.reshape(4, -1), key: [0, 1, 1, 0]})
    sums = {part: write(folder / part, batch) for part in ("train", "test")}
    names = pickle.dumps({reader.meta["key"]: ["cat", "dog"]})
    meta = reader.meta | {"md5": write(folder / reader.meta["filename"], names)}
    monkeypatch.setattr(reader, "meta", meta)
    monkeypatch.setattr(reader, "train_list", [("train", sums["train"])])
    monkeypatch.setattr(reader, "test_list", [("test", sums["test"])])

    splits = read(DataConfig(name=name, root=tmp_path))
    assert splits.classes == ("cat", "dog")
    for part in (splits.train, splits.test):
        assert np.array_equal(part.images.numpy(), images)
        assert part.labels.tolist() == [0, 1, 1, 0]

    write(folder / "train", batch + b"damage")
    with raises(f"'{name}'", tmp_path):
        read(DataConfig(name=name, root=tmp_path))


@pytest.mark.parametrize("extra", [False, True])
def test_svhn_adds_its_extra_images_when_asked(tmp_path, monkeypatch, extra):
    parts = {"train": bytes_of(5, 3, 32, 32), "test": bytes_of(3, 3, 32, 32), "extra": bytes_of(7, 3, 32, 32)}
    files = {}
    for part, images in parts.items():
        path = tmp_path / f"{part}_32x32.mat"
        savemat(path, {"X": images.transpose(2, 3, 1, 0), "y": np.full((len(images), 1), 10, dtype=np.uint8)})
        files[part] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", files)
    splits = read(DataConfig(name="svhn", root=tmp_path, extra=extra))
    wanted = np.concatenate([parts["train"], parts["extra"]]) if extra else parts["train"]
    assert np.array_equal(splits.train.images.numpy(), wanted)
    assert np.array_equal(splits.test.images.numpy(), parts["test"])
    assert set(splits.train.labels) == {0}  # the files write the digit 0 as 10


def test_imagenet_is_tested_on_its_validation_images(tmp_path, make_images):
    make_images(tmp_path / "train", {"n01": 3, "n02": 4})
    make_images(tmp_path / "val", {"n01": 2, "n02": 2})
    torch.save(({"n01": ("crane", "bird"), "n02": ("crane",)}, ["n01", "n02"]), tmp_path / "meta.bin")
    splits = read(DataConfig(name="imagenet", root=tmp_path))
    assert splits.classes == ("crane, bird", "crane")
    assert splits.val is None
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert len(splits.test) == 4
    assert splits.test[0][0].shape[0] == 3


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("mnist", "download=true"),
        ("cifar10", "download=true"),
        ("cifar100", "download=true"),
        ("svhn", "download=true"),
        ("imagenet", "image-net.org"),
    ],
)
def test_a_missing_dataset_is_reported_in_one_line(tmp_path, name, advice):
    with raises(f"'{name}'", tmp_path, advice):
        read(DataConfig(name=name, root=tmp_path))


def test_a_failed_download_raises(tmp_path, monkeypatch):
    def no_network(self):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nTried https://...")

    monkeypatch.setattr(datasets.MNIST, "download", no_network)
    with raises("train-images-idx3-ubyte.gz", "MNIST/raw"):
        read(DataConfig(name="mnist", root=tmp_path, download=True))


def test_a_damaged_mnist_raises(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    for part in ("train", "t10k"):
        write(raw / f"{part}-images-idx3-ubyte", struct.pack(">4i", 2051, 6, 28, 28) + b"too few")
        write(raw / f"{part}-labels-idx1-ubyte", gzip.compress(b"not unpacked"))
    with raises("'mnist'"):
        read(DataConfig(name="mnist", root=tmp_path))
