import json

import pytest
import torch
from torchvision.transforms.v2.functional import normalize, resize

from skipweave.data import WholeImage, whole_image_from
from skipweave.errors import SkipweaveError

PHOTO = WholeImage(channels=3, resize=None, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
SMALL = WholeImage(channels=3, resize=20, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


@pytest.mark.parametrize(("height", "width"), [(36, 50), (20, 33), (50, 17)])
def test_it_equals_torchvisions_steps(height, width):
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    for transform, fitted in ((PHOTO, image), (SMALL, resize(image, [20], antialias=True))):
        expected = normalize(fitted / 255, transform.mean, transform.std)
        torch.testing.assert_close(transform(image), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("transform", [PHOTO, SMALL])
def test_a_description_survives_json_and_rebuilds_it(transform):
    assert whole_image_from(json.loads(json.dumps(transform.describe()))) == transform


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": 1}, r"preprocessing has \['channels', 'crop', .*: expected exactly \['channels', 'mean'"),
        ({"mean": None}, "value of the wrong kind"),
        ({"mean": ["a", 0, 0]}, "value of the wrong kind"),
        ({"std": [1]}, "3 channels has 3 means and 1 standard deviations"),
        ({"std": [0, 1, 1]}, "std above 0"),
        ({"resize": 0}, "resize 0: expected 1 to 16384 pixels"),
    ],
)
def test_a_wrong_description_is_refused(change, message):
    with pytest.raises(SkipweaveError, match=message):
        whole_image_from(PHOTO.describe() | change)
