import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from skipweave.data import DataConfig
from skipweave.data.augmentation import Lighting, eval_transform, train_transform
from skipweave_config.data_config import IMAGE_NAMES
from skipweave_config.errors import SkipweaveError
from tests.data.training_batch import training_batch
from tests.errors import raises

SIDES = {"digits": 8, "mnist": 28, "cifar10": 32, "cifar100": 32, "svhn": 32}


def transforms(name, **options):
    own = {"csv": {"labels": "labels.csv"}, "hub": {"hub": "user/set"}, "python": {}, "digits": {}}
    config = DataConfig(name=name, **own.get(name, {"root": "somewhere"}), **options)
    evaluation = eval_transform(config)
    return train_transform(config, evaluation), evaluation


@pytest.mark.parametrize(
    ("name", "shift", "flip"),
    [
        ("digits", 1, "none"),
        ("mnist", 3, "none"),
        ("svhn", 4, "none"),
        ("cifar10", 4, "horizontal"),
        ("cifar100", 4, "horizontal"),
        ("imagenet", 0, "horizontal"),
        ("folder", 0, "horizontal"),
    ],
)
def test_defaults_are_those_of_the_papers(name, shift, flip):
    per_batch = transforms(name)[0].per_batch
    assert (per_batch.shift, per_batch.flip, per_batch.padding, per_batch.cutout) == (shift, flip, "zeros", 0)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_black_is_the_normalized_value_of_black_pixels(name):
    train, evaluation = transforms(name, padding="black")
    black = torch.zeros(evaluation.channels, *evaluation.image_size, dtype=torch.uint8)
    batch = training_batch(train, [black] * 20)
    torch.testing.assert_close(batch, evaluation(black).expand_as(batch))


@pytest.mark.parametrize("name", IMAGE_NAMES)
@pytest.mark.parametrize("size", [None, 16])
def test_training_and_evaluation_give_the_same_shape(name, size):
    train, evaluation = transforms(name, image_size=size)
    side = size or evaluation.crop
    image = torch.randint(0, 256, (evaluation.channels, 50, 40), dtype=torch.uint8)
    if name in SIDES:
        image = torch.randint(0, 256, (evaluation.channels, SIDES[name], SIDES[name]), dtype=torch.uint8)
    for transform in (train, evaluation):
        output = training_batch(transform, [image])
        assert output.shape == (1, evaluation.channels, side, side)
        assert output.dtype == torch.float32


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_without_augmentation_training_equals_evaluation(name):
    train, evaluation = transforms(name, augment=False)
    images = torch.randint(0, 256, (3, evaluation.channels, 50, 40), dtype=torch.uint8)
    assert torch.equal(training_batch(train, images), torch.stack([evaluation(image) for image in images]))


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_transforms_can_be_sent_to_a_worker(name):
    train, evaluation = transforms(name, image_size=16)
    images = torch.randint(0, 256, (3, evaluation.channels, 20, 20), dtype=torch.uint8)
    assert torch.equal(training_batch(train, images), training_batch(pickle.loads(pickle.dumps(train)), images))


def test_photographs_are_evaluated_as_in_the_papers():
    _, evaluation = transforms("imagenet")
    assert (evaluation.resize, evaluation.crop) == (256, 224)


@pytest.mark.parametrize("name", ["imagenet", "folder"])
def test_photographs_keep_their_mean_color(name):
    train, evaluation = transforms(name, image_size=32)
    image = torch.full((3, 60, 40), 127, dtype=torch.uint8)
    outputs = training_batch(train, [image] * 200)
    plain = evaluation(image)
    assert outputs.mean(0).sub(plain).abs().max() < 0.3
    changed = (outputs - plain).abs().amax() > 0.1
    assert changed == (name == "imagenet")  # a plain picture cropped is the same, recolored it is not


def test_lighting_has_imagenets_covariance():
    lighting = Lighting(0.1)
    torch.manual_seed(0)
    colors = torch.stack([lighting(torch.zeros(3, 1, 1)).flatten() for _ in range(20000)])
    expected = 0.01 * lighting.components @ lighting.components.T
    torch.testing.assert_close(colors.T.cov(), expected, rtol=0.05, atol=1e-6)


def test_every_option_changes_training_only():
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    plain = {"flip": "none", "shift": 0}
    train, evaluation = transforms("cifar10", **plain)
    assert torch.equal(training_batch(train, [image])[0], evaluation(image))
    for options in (
        {"flip": "vertical"},
        {"shift": 2},
        {"crop_scale": (0.2, 0.3)},
        {"color": 0.5},
        {"blur": (0.5, 1.0)},
        {"auto_augment": "randaugment"},
        {"auto_augment": "trivialaugment"},
        {"erasing": 1.0},
        {"cutout": 8},
    ):
        train, evaluation = transforms("cifar10", **(plain | options))
        outputs = training_batch(train, [image] * 20)
        assert outputs.shape == (20, 3, 32, 32)
        assert not all(torch.equal(output, evaluation(image)) for output in outputs), options


@pytest.mark.parametrize("channels", [1, 5])
def test_images_of_other_channels_have_a_mean_and_std_per_channel(channels):
    config = DataConfig(name="folder", root="somewhere", mean=(0.5,) * channels, std=(0.25,) * channels)
    evaluation = eval_transform(config, channels)
    assert (evaluation.channels, evaluation.mean, evaluation.std) == (channels, config.mean, config.std)
    with raises(3, channels):
        eval_transform(config)


def test_mean_std_and_resize_are_those_of_the_config():
    _, evaluation = transforms("cifar10", mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0), resize=40, image_size=36)
    assert (evaluation.mean, evaluation.std) == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert (evaluation.resize, evaluation.crop) == (40, 36)


@pytest.mark.parametrize("options", [{"color": 0.1}, {"auto_augment": "randaugment"}])
def test_color_augmentation_needs_8_bits(options):
    config = DataConfig(name="folder", root=Path("somewhere"), **options)
    deep = replace(eval_transform(config), range=(0.0, 4095.0))
    with pytest.raises(SkipweaveError, match=next(iter(options))):
        train_transform(config, deep)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"augment": False, "flip": "horizontal"}, "flip"),
        ({"augment": False, "cutout": 4}, "cutout"),
        ({"name": "camvid", "flip": "alternating"}, "flip"),
        ({"name": "camvid", "erasing": 0.1}, "erasing"),
        ({"crop_scale": (0.5, 0.4)}, "crop_scale"),
        ({"image_size": 64, "resize": 32}, "resize"),
        ({"blur": (1.0, 0.5)}, "blur"),
        ({"augment": False, "blur": (0.5, 1.0)}, "blur"),
    ],
)
def test_contradictory_options_are_rejected(options, field):
    with pytest.raises(SkipweaveError) as error:
        DataConfig(**{"name": "cifar10", "root": Path("somewhere")} | options)
    assert [problem.split()[0] for problem in error.value.problems] == [field]


def test_blur_is_gaussian():
    train, _ = transforms("cifar10", blur=(0.8, 0.8), shift=0, flip="none", mean=(0.0,) * 3, std=(1.0,) * 3)
    point = torch.zeros(3, 32, 32, dtype=torch.uint8)
    point[:, 16, 16] = 255
    (blurred,) = training_batch(train, [point])
    offsets = torch.arange(32) - 16
    profile = torch.exp(-(offsets**2) / (2 * 0.8**2))
    expected = torch.outer(profile, profile) / profile.sum() ** 2
    torch.testing.assert_close(blurred, expected.expand(3, 32, 32), rtol=0, atol=0.005)


def test_blur_beyond_the_image_is_rejected():
    with raises("data.blur", 8):
        transforms("digits", blur=(1.0, 3.0))


def test_shifts_beyond_the_image_are_rejected():
    with raises("data.shift", 8):
        transforms("digits", shift=8)


@pytest.mark.parametrize(("name", "options"), [("digits", {"shift": 0}), ("cifar10", {"shift": 0}), ("folder", {})])
def test_padding_without_shifts_raises(name, options):
    with raises("data.padding", "reflect", "data.shift"):
        transforms(name, padding="reflect", **options)
    transforms(name, padding="reflect", **options | {"shift": 1})
