import pytest

from skipweave.data import SegmentationConfig
from skipweave.errors import SkipweaveError


def test_the_defaults_are_phase_1_of_the_recipe():
    config = SegmentationConfig(root="somewhere")
    assert (config.name, config.crop, config.flip) == ("camvid", 224, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "CamVidd"}, "unknown set of label maps 'CamVidd': did you mean 'camvid'. valid names: camvid, masks"),
        ({"root": None}, "'camvid' needs root"),
        ({"classes": "list.csv"}, "camvid has its own classes"),
        ({"crop": 0, "image_size": -1}, "image_size is -1: .*; crop is 0: expected"),
        ({"validation": 1.0}, "validation is 1.0: expected a count"),
        ({"workers": -1}, "workers is -1"),
    ],
)
def test_wrong_values_are_all_told(options, message):
    with pytest.raises(SkipweaveError, match=message):
        SegmentationConfig(**({"root": "somewhere"} | options))
