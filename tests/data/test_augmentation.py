import pickle

import pytest
import torch
from torch.nn.functional import pad

from skipweave.data import DataConfig
from skipweave.data.augmentation import Lighting, RandomShift, eval_transform, train_transform
from skipweave_config.data_config import IMAGE_NAMES


def transforms(name, **options):
    own = {"csv": {"labels": "labels.csv"}, "hub": {"hub": "user/set"}, "python": {}, "digits": {}}
    config = DataConfig(name=name, **own.get(name, {"root": "somewhere"}), **options)
    evaluation = eval_transform(config)
    return train_transform(config, evaluation), evaluation


def shifts(image, pixels):
    height, width = image.shape[-2:]
    padded = pad(image, [pixels] * 4)
    offsets = range(2 * pixels + 1)
    return [padded[..., top : top + height, left : left + width] for top in offsets for left in offsets]


def test_a_shift_is_one_of_those_possible_and_each_happens():
    image = torch.arange(1, 37, dtype=torch.uint8).view(1, 6, 6)
    wanted = [tuple(shifted.flatten().tolist()) for shifted in shifts(image, 1)]
    torch.manual_seed(0)
    got = [tuple(RandomShift(1)(image).flatten().tolist()) for _ in range(2000)]
    assert set(got) == set(wanted)
    assert all(abs(got.count(shifted) / 2000 - 1 / 9) < 0.04 for shifted in wanted)


@pytest.mark.parametrize(
    ("name", "channels", "side", "pixels", "mirror"),
    [
        ("digits", 1, 8, 1, False),
        ("mnist", 1, 28, 3, False),
        ("svhn", 3, 32, 4, False),
        ("cifar10", 3, 32, 4, True),
        ("cifar100", 3, 32, 4, True),
    ],
)
def test_small_images_are_shifted_and_only_objects_mirrored(name, channels, side, pixels, mirror):
    train, evaluation = transforms(name)
    image = torch.randint(1, 256, (channels, side, side), dtype=torch.uint8)
    straight = {evaluation.normalize(shifted).numpy().tobytes() for shifted in shifts(image, pixels)}
    turned = {evaluation.normalize(shifted).numpy().tobytes() for shifted in shifts(image.flip(-1), pixels)}
    torch.manual_seed(0)
    got = [train(image).contiguous().numpy().tobytes() for _ in range(100)]
    assert all(output in straight or output in turned for output in got)
    assert any(output in turned for output in got) == mirror
    assert any(output in straight for output in got)


@pytest.mark.parametrize("name", IMAGE_NAMES)
@pytest.mark.parametrize("size", [None, 16])
def test_training_and_evaluation_give_the_same_shape(name, size):
    train, evaluation = transforms(name, image_size=size)
    side = size or evaluation.crop
    image = torch.randint(0, 256, (evaluation.channels, 50, 40), dtype=torch.uint8)
    for transform in (train, evaluation):
        output = transform(image)
        assert output.shape == (evaluation.channels, side, side)
        assert output.dtype == torch.float32


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_without_augmentation_training_equals_evaluation(name):
    train, evaluation = transforms(name, augment=False)
    assert train is evaluation


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_transforms_can_be_sent_to_a_worker(name):
    train, evaluation = transforms(name, image_size=16)
    image = torch.randint(0, 256, (evaluation.channels, 20, 20), dtype=torch.uint8)
    outputs = []
    for transform in (train, pickle.loads(pickle.dumps(train))):
        torch.manual_seed(0)
        outputs.append(transform(image))
    assert torch.equal(*outputs)


def test_photographs_are_evaluated_as_in_the_papers():
    _, evaluation = transforms("imagenet")
    assert (evaluation.resize, evaluation.crop) == (256, 224)


@pytest.mark.parametrize("name", ["imagenet", "folder"])
def test_photographs_keep_their_mean_color(name):
    train, evaluation = transforms(name, image_size=32)
    image = torch.full((3, 60, 40), 127, dtype=torch.uint8)
    torch.manual_seed(0)
    outputs = torch.stack([train(image) for _ in range(200)])
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
