import json
import pickle

import pytest
import torch
from torchvision.transforms import v2

from skipweave.data import DataConfig, Preprocessing, eval_transform_from
from skipweave.data.augmentation import eval_transform
from skipweave.errors import SkipweaveError
from skipweave_config.data_config import IMAGE_NAMES

PHOTO = Preprocessing(channels=3, resize=36, crop=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


@pytest.mark.parametrize(("height", "width"), [(36, 36), (50, 80), (90, 37), (8, 8), (200, 10)])
def test_it_equals_torchvisions_steps(height, width):
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    steps = v2.Compose(
        [
            v2.Resize(36, antialias=True),
            v2.CenterCrop(32),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(PHOTO.mean, PHOTO.std),
        ]
    )
    output = PHOTO(image)
    assert output.shape == (3, 32, 32)
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, steps(image), rtol=0, atol=1e-5)


def test_an_image_that_fits_is_only_normalized():
    image = torch.full((1, 8, 8), 255, dtype=torch.uint8)
    output = Preprocessing(1, 8, 8, (0.5,), (0.25,))(image)
    assert torch.equal(output, torch.full((1, 8, 8), 2.0))
    assert image.eq(255).all()


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_a_description_survives_json_and_rebuilds_the_transform(name):
    transform = eval_transform(DataConfig(name=name, root=None if name == "digits" else "somewhere"))
    assert eval_transform_from(json.loads(json.dumps(transform.describe()))) == transform


def test_it_can_be_pickled_after_use():
    image = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8)
    output = PHOTO(image)
    assert torch.equal(pickle.loads(pickle.dumps(PHOTO))(image), output)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"color": 1}, r"preprocessing has \[.*'color'.*\]: expected exactly \['channels', 'crop', 'mean'"),
        ({"mean": None}, "value of the wrong kind"),
        ({"mean": ["a", 0, 0]}, "value of the wrong kind"),
        ({"mean": [0.5]}, "3 channels has 1 means and 3 standard deviations"),
        ({"crop": 40}, "crop 40, resize 36"),
        ({"std": [0, 1, 1]}, "std above 0"),
    ],
)
def test_a_wrong_description_is_refused(change, message):
    with pytest.raises(SkipweaveError, match=message):
        eval_transform_from(PHOTO.describe() | change)
