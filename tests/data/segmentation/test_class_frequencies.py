import numpy as np
import pytest
from PIL import Image

from skipweave.data import DataConfig, PixelCounts, count_pixels, load_segmentation
from skipweave.data.segmentation.class_list import ClassEntry, ClassList
from skipweave.data.segmentation.image_mask_pairs import SegmentationDataset

CLASSES = ClassList((ClassEntry("a", 0), ClassEntry("b", 1), ClassEntry("c", 2), ClassEntry("void", 3)), "list.csv")


def images(tmp_path, maps):
    pairs = []
    for number, values in enumerate(maps):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.array(values, dtype=np.uint8)).save(path)
        pairs.append((path, path))
    return SegmentationDataset(pairs, CLASSES)


def test_pixels_are_counted(tmp_path):
    counted = count_pixels(images(tmp_path, [[[0, 0, 1, 3]], [[0, 3], [3, 3]], [[2, 2]]]))
    assert counted == PixelCounts(("a", "b", "c"), pixels=(3, 1, 2), total=10)
    assert counted.frequencies() == (0.3, 0.1, 0.2)
    assert counted.weights() == pytest.approx((2 / 3, 2, 1))


def test_a_class_that_never_occurs_has_weight_zero(tmp_path):
    assert count_pixels(images(tmp_path, [[[0, 0, 1, 0]]])).weights() == pytest.approx((2 / 3, 2, 0))
    assert count_pixels(images(tmp_path, [[[3, 3]]])).weights() == (0, 0, 0)


@pytest.fixture(scope="module")
def camvid(camvid_root):
    return count_pixels(load_segmentation(DataConfig(name="camvid", root=camvid_root)).train)


def test_the_frequencies_of_camvid(camvid):
    known = [0.16845, 0.23259, 0.00983, 0.31658, 0.04486, 0.09724, 0.01173, 0.01127, 0.05866, 0.00639, 0.00292]
    assert [round(frequency, 5) for frequency in camvid.frequencies()] == known
    assert round(1 - sum(camvid.frequencies()), 5) == 0.03948


def test_the_weights_of_camvid(camvid):
    known = [0.266, 0.193, 4.564, 0.142, 1.0, 0.461, 3.825, 3.981, 0.765, 7.018, 15.382]
    assert [round(weight, 3) for weight in camvid.weights()] == known
