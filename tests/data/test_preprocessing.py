import json
import pickle
from dataclasses import replace

import pytest
import torch
from torchvision.transforms import v2

from skipweave.data import DataConfig, Preprocessing
from skipweave.data.augmentation import eval_transform
from skipweave_config.data_config import IMAGE_NAMES
from skipweave_config.validation import validate_json
from tests.errors import raises

CROPPED = Preprocessing(channels=3, resize=36, crop=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
RESIZED = replace(CROPPED, crop=None)
WHOLE = replace(RESIZED, resize=None)


@pytest.mark.parametrize(("height", "width"), [(36, 36), (50, 80), (90, 37), (8, 8), (200, 10)])
@pytest.mark.parametrize("preprocessing", [CROPPED, RESIZED, WHOLE], ids=["cropped", "resized", "whole"])
def test_it_equals_the_transforms_of_torchvision(preprocessing, height, width):
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    steps = [v2.Resize(36, antialias=True)] if preprocessing.resize else []
    steps += [v2.CenterCrop(32)] if preprocessing.crop else []
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(preprocessing.mean, preprocessing.std)]
    output = preprocessing(image)
    assert preprocessing.image_size in (None, output.shape[1:])
    torch.testing.assert_close(output, v2.Compose(steps)(image), rtol=0, atol=1e-5)


def test_an_image_that_fits_is_only_normalized():
    image = torch.full((1, 8, 8), 255, dtype=torch.uint8)
    output = Preprocessing(channels=1, resize=8, crop=8, mean=(0.5,), std=(0.25,))(image)
    assert torch.equal(output, torch.full((1, 8, 8), 2.0))
    assert image.eq(255).all()


@pytest.mark.parametrize(
    "preprocessing",
    [
        *(
            eval_transform(DataConfig(name=name, root="somewhere"))
            for name in IMAGE_NAMES
            if name not in ("digits", "csv", "hub", "python")
        ),
        RESIZED,
        WHOLE,
        replace(WHOLE, range=(963.0, 1132.0)),
    ],
)
def test_it_survives_a_round_trip_through_json(preprocessing):
    values = json.loads(json.dumps(preprocessing.to_dict()))
    assert validate_json(Preprocessing, values) == preprocessing


def test_it_can_be_pickled_after_use():
    image = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8)
    output = CROPPED(image)
    assert torch.equal(pickle.loads(pickle.dumps(CROPPED))(image), output)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"color": 1}, ("preprocessing.color",)),
        ({"mean": None}, ("mean", None)),
        ({"mean": ["a", 0, 0]}, ("mean[0]", "'a'")),
        ({"mean": [0.5]}, (1, 3)),
        ({"mean": [], "std": [], "channels": 0}, ("std", ())),
        ({"crop": 40}, ("crop", 40)),
        ({"resize": None}, ("crop", 32, "resize", None)),
        ({"resize": 0}, ("resize", 0)),
        ({"std": [0, 1, 1]}, ("std", (0.0, 1.0, 1.0))),
        ({"std": [float("nan"), 1, 1]}, ("std", "nan")),
        ({"mean": [0, float("inf"), 0]}, ("mean", "inf")),
        ({"range": [1, 0]}, ("range", [1.0, 0.0])),
    ],
)
def test_invalid_values_raise(change, named):
    with raises(*named):
        validate_json(Preprocessing, CROPPED.to_dict() | change, "preprocessing")
