import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data import DataConfig, epoch_loader, load
from skipweave.data.datasets import with_normalization
from tests.errors import raises


def test_digits_are_the_default():
    data = load(DataConfig())
    assert data.name == "digits"
    assert data.classes == tuple("0123456789")
    assert (data.in_chans, data.image_size) == (1, (8, 8))
    assert [len(part) for part in (data.train, data.val, data.test)] == [1294, 144, 359]


def test_validation_is_taken_from_training():
    whole, split = load(DataConfig(validation=0)), load(DataConfig(validation=200))
    assert whole.val is None
    assert (len(split.train), len(split.val)) == (1238, 200)
    together = torch.cat([split.train.images, split.val.images])
    assert torch.equal(together.flatten(1).unique(dim=0), whole.train.images.flatten(1).unique(dim=0))
    assert torch.equal(split.test.images, whole.test.images)
    assert np.array_equal(load(DataConfig(validation=200)).val.labels, split.val.labels)


def test_validation_must_leave_training_images():
    with raises(1438, 1428):
        load(DataConfig(validation=1438))


def test_images_have_the_configured_size():
    data = load(DataConfig(image_size=12))
    assert data.image_size == (12, 12)
    images, _ = next(iter(epoch_loader(data.train, data.train_transform, batch_size=2, seed=0, epoch=0, shuffle=True)))
    assert images.shape == (2, 1, 12, 12)


def statistics(images):
    scaled = images.transpose(0, 1).flatten(1).double() / 255
    return scaled.mean(1).tolist(), scaled.std(1).tolist()


def test_digits_are_normalized_by_their_own_statistics():
    data = load(DataConfig(validation=0))
    mean, std = statistics(torch.cat([data.train.images, data.test.images]))
    assert data.preprocessing.mean == pytest.approx(mean, abs=1e-4)
    assert data.preprocessing.std == pytest.approx(std, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "sizes", "first"), [("mnist", (60000, 10000), "5"), ("cifar10", (50000, 10000), "frog")]
)
def test_real_datasets_are_as_published(real_data, name, sizes, first):
    data = load(DataConfig(name=name, root=real_data, validation=0))
    assert (len(data.train), len(data.test)) == sizes
    assert data.classes[data.train[0][1]] == first
    assert np.bincount(data.test.labels).sum() == sizes[1]
    mean, std = statistics(data.train.images)
    assert data.preprocessing.mean == pytest.approx(mean, abs=3e-4)
    assert data.preprocessing.std == pytest.approx(std, abs=3e-4)


def test_validation_of_cifar_is_stratified(real_data):
    data = load(DataConfig(name="cifar10", root=real_data, validation=5000))
    assert np.bincount(data.val.labels).tolist() == [500] * 10
    assert np.bincount(data.train.labels).tolist() == [4500] * 10


def test_gray_images_of_16_bits_are_loaded_again_with_what_was_found(tmp_path):
    for name in ("cat", "ape"):
        (tmp_path / name).mkdir()
        for number in range(4):
            pixels = np.random.default_rng(number).integers(900, 2000, (9, 8)).astype(np.uint16)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    config = DataConfig(name="folder", root=tmp_path, image_size=8, channels=1, validation=0)
    data = load(config)
    assert (data.in_chans, len(data.preprocessing.mean)) == (1, 1)
    found = with_normalization(config, data)
    assert found.mean == data.preprocessing.mean
    assert load(found).preprocessing == data.preprocessing
