"""Normalization of more than 8 bits: from the training images, or from the config."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data import DataConfig, epoch_loader, load, with_normalization
from skipweave.data.validation.check_dataset import check_dataset
from skipweave_config.errors import SkipweaveError
from tests.data.high_bit_depth_files import png, tiff
from tests.errors import raises


@pytest.fixture
def scans(tmp_path):
    """Scans of 12 bits in files of 16, of differing sizes: eight training and two test images per class."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 2)):
        for label, name in enumerate(("clear", "lesion")):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(963, 1013 + 120 * label, (*rng.integers(20, 40, 2), 1)).astype(np.uint16)
                (folder / f"{number}.png").write_bytes(png(pixels))
    return tmp_path


def folder(root, **options):
    return DataConfig(name="folder", root=root, validation=0, image_size=32, **options)


def values(images, channel=0):
    return np.concatenate([images[index][0][channel].flatten().numpy() for index in range(len(images))])


def test_range_mean_and_deviation_are_those_of_the_training_images(scans):
    data = load(folder(scans))
    found, own = data.preprocessing, values(data.train)
    low, high = own.min(), own.max()
    assert found.range == (low, high)
    assert low < 1000 < 1100 < high
    scaled = (own.astype(np.float64) - low) / (high - low)
    assert found.mean == pytest.approx([scaled.mean()] * 3, rel=1e-12)
    assert found.std == pytest.approx([scaled.std()] * 3, rel=1e-12)


def test_each_channel_has_its_own_mean_and_may_be_constant(scans):
    rng = np.random.default_rng(1)
    for path in scans.rglob("*.png"):
        pixels = rng.integers([100, 2000, 7], [200, 9000, 8], (9, 8, 3)).astype(np.uint16)
        path.write_bytes(png(pixels))
    data = load(folder(scans))
    low, high = data.preprocessing.range
    for channel in range(2):
        scaled = (values(data.train, channel).astype(np.float64) - low) / (high - low)
        assert data.preprocessing.mean[channel] == pytest.approx(scaled.mean(), rel=1e-12)
        assert data.preprocessing.std[channel] == pytest.approx(scaled.std(), rel=1e-12)
    assert (low, data.preprocessing.mean[2], data.preprocessing.std[2]) == (7, 0, 1)


@pytest.mark.parametrize("workers", [1, 3])
def test_statistics_do_not_depend_on_workers(scans, workers):
    assert load(folder(scans, workers=workers)).preprocessing == load(folder(scans)).preprocessing


def test_progress_is_called_for_each_training_image(scans):
    calls = []
    load(folder(scans), lambda done, total: calls.append((done, total)))
    assert calls == [(done, 16) for done in range(1, 17)]


def test_8_bit_images_are_not_read(scans, make_images, tmp_path):
    make_images(tmp_path / "bytes", {"cat": 5, "ape": 5})
    calls = []
    data = load(folder(tmp_path / "bytes"), lambda *done: calls.append(done))
    assert (calls, data.preprocessing.range) == ([], None)
    assert "range" not in data.preprocessing.to_dict()
    assert with_normalization(folder(tmp_path / "bytes"), data) == folder(tmp_path / "bytes")


def test_a_resolved_config_does_not_read_the_images_again(scans):
    data = load(folder(scans))
    known = with_normalization(folder(scans), data)
    assert (known.range, known.mean, known.std) == (
        data.preprocessing.range,
        data.preprocessing.mean,
        data.preprocessing.std,
    )
    for path in sorted((scans / "train").rglob("*.png"))[1:]:  # the first one sets the bit depth
        path.write_bytes(b"")
    assert load(known).preprocessing == data.preprocessing


def test_a_configured_range_is_taken(scans):
    usual, own = load(folder(scans)).preprocessing, load(folder(scans, range=[0, 4095])).preprocessing
    assert own.range == (0, 4095)
    low, high = usual.range
    assert own.mean[0] * 4095 == pytest.approx(low + usual.mean[0] * (high - low))
    assert own.std[0] * 4095 == pytest.approx(usual.std[0] * (high - low))


@pytest.mark.parametrize("augment", [False, True])
def test_every_level_is_kept(scans, augment):
    data = load(folder(scans, augment=augment))
    image = torch.arange(963, 963 + 32 * 32).view(1, 32, 32).expand(3, -1, -1).float()
    [taken], _ = next(
        iter(epoch_loader([(image, 0)], data.train_transform, batch_size=1, seed=0, epoch=0, shuffle=False))
    )
    assert taken.shape == (3, 32, 32)
    assert taken.dtype == torch.float32
    assert len(taken.unique()) > (200 if augment else 1000)  # those of a crop that is enlarged
    low, high = data.preprocessing.range
    mean, std = data.preprocessing.mean[0], data.preprocessing.std[0]
    whole = ((image.double() - low) / (high - low) - mean) / std
    exact = replace(data.preprocessing, resize=32)(image)
    assert len(exact.unique()) == 32 * 32
    torch.testing.assert_close(exact.double(), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("scale", "offset"), [(16, 0), (1, 20_000), (3, 77)])
def test_the_unit_of_the_values_does_not_matter(scans, tmp_path, scale, offset):
    before = load(folder(scans))
    images = [before.eval_transform(before.train[index][0]) for index in range(len(before.train))]
    for path in scans.rglob("*.png"):
        with Image.open(path) as image:
            pixels = np.asarray(image)
        path.write_bytes(png((pixels.astype(np.int64) * scale + offset).astype(np.uint16)[..., None]))
    after = load(folder(scans))
    for index, image in enumerate(images):
        torch.testing.assert_close(after.eval_transform(after.train[index][0]), image, rtol=1e-4, atol=1e-4)


def test_floating_point_images_are_read_likewise(scans):
    for path in scans.rglob("*.png"):
        with Image.open(path) as image:
            pixels = np.asarray(image)
        path.with_suffix(".tif").write_bytes(tiff((pixels[..., None] / 1000).astype(np.float32)))
        path.unlink()
    found = load(folder(scans)).preprocessing
    assert found.range[0] == pytest.approx(0.963)
    assert check_dataset(folder(scans)).values[0].kind == "32-bit float gray"


def test_a_damaged_training_image_is_named_or_skipped(scans):
    own = load(folder(scans)).preprocessing
    broken = scans / "train" / "lesion" / "99.png"
    broken.write_bytes(b"no image")
    with raises(broken):
        load(folder(scans))
    assert load(folder(scans, on_bad="skip")).preprocessing == own


def test_images_of_8_bits_among_others_are_named(scans):
    Image.new("L", (32, 32)).save(scans / "train" / "lesion" / "99.png")
    with raises("99.png", "8-bit gray"):
        load(folder(scans))
    (finding,) = check_dataset(folder(scans)).findings
    assert finding.place.endswith("99.png")
    assert finding.bad


def test_images_of_16_bits_among_others_are_named(scans, make_images, tmp_path):
    make_images(tmp_path / "bytes", {"cat": 5, "ape": 5})
    (tmp_path / "bytes" / "cat" / "5.png").write_bytes(png(np.full((9, 9, 1), 1000, np.uint16)))
    (finding,) = check_dataset(folder(tmp_path / "bytes")).findings
    assert finding.place.endswith("cat/5.png")
    assert finding.bad
    data = load(folder(tmp_path / "bytes"))
    images = data.train if any("cat/5.png" in path for path in data.train.paths) else data.test
    with raises("5.png", "16-bit gray"):
        values(images)


def test_whole_and_floating_point_numbers_are_not_mixed(scans):
    (scans / "train" / "lesion" / "99.tif").write_bytes(tiff(np.full((9, 9, 1), 0.5, np.float32)))
    with pytest.raises(SkipweaveError):
        load(folder(scans))
    assert check_dataset(folder(scans)).bad == 1


def test_constant_images_raise(scans):
    for path in scans.rglob("*.png"):
        path.write_bytes(png(np.full((9, 9, 1), 1000, np.uint16)))
    with raises("folder", 1000):
        load(folder(scans))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"range": [5]}, ("range[1]",)),
        ({"range": [5, 5]}, ("range", [5, 5])),
        ({"range": [float("-inf"), 5]}, ("range[0]", "-inf")),
        ({"range": "wide"}, ("range", "'wide'")),
        ({"mean": []}, ("mean", [])),
        ({"std": [1, 0, 1]}, ("std[1]", 0)),
    ],
)
def test_invalid_values_raise(tmp_path, options, named):
    with raises(*named):
        folder(tmp_path, **options)


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10", "imagenet", "camvid"])
def test_datasets_of_8_bits_have_no_range(tmp_path, name):
    with raises("range", name):
        DataConfig(name=name, root=tmp_path, range=(0, 1))


def test_a_folder_of_8_bits_has_none_either(tmp_path, make_images):
    make_images(tmp_path, {"cat": 5, "ape": 5})
    with raises("range", "folder"):
        load(folder(tmp_path, range=(0, 100)))


def test_images_with_masks_are_normalized_too(tmp_path, make_pairs, class_list):
    make_pairs(tmp_path, [f"{number}" for number in range(9)])
    class_list(tmp_path)
    rng = np.random.default_rng(0)
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(png(rng.integers(500, 2500, (12, 10, 1)).astype(np.uint16)))
    config = DataConfig(name="masks", root=tmp_path, crop=8)
    data = load(config)
    assert all(500 <= side < 2500 for side in data.preprocessing.range)
    image, labels = data.train_transform(*data.train[0])
    assert (image.shape, image.dtype, labels.shape) == ((3, 8, 8), torch.float32, (8, 8))
    own = np.concatenate([data.train.image(index)[0].numpy().flatten() for index in range(len(data.train))])
    assert data.preprocessing.range == (own.min(), own.max())
    assert load(with_normalization(config, data)).preprocessing == data.preprocessing
