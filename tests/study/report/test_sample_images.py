import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data import DataConfig, load
from skipweave.study.report.sample_images import sample_section
from skipweave.study.report.thumbnails import displayable, thumbnail


def images_of(markup):
    return [
        Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"data:image/\w+;base64,([^\"]*)", markup)
    ]


def test_one_image_of_each_class():
    data = load(DataConfig(augment=False, validation=0))
    section = sample_section(data)
    assert re.findall('alt="([^"]*)"', section) == [str(digit) for digit in range(10)]
    first = data.train[int(np.flatnonzero(data.train.labels == 0)[0])][0]
    assert np.array_equal(np.array(images_of(section)[0]), first[0].numpy())


def test_images_beside_their_masks_with_the_colors_of_their_classes(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for number in range(4):
            for kind, pixels in (
                ("images", rng.integers(0, 255, (40, 500, 3), np.uint8)),
                ("masks", np.full((40, 500), number % 2, np.uint8)),
            ):
                folder = tmp_path / split / kind
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    classes = tmp_path / "classes.csv"
    classes.write_text("name,value\n<road>,0\nsky,1\ntree,2\n")
    section = sample_section(load(DataConfig("masks", tmp_path, augment=False, classes=classes)))
    assert [image.size for image in images_of(section)] == [(400, 32)] * 6
    assert section.count("image/jpeg") == 6
    assert re.findall("</span>([^<]*)</li>", section) == ["&lt;road&gt;", "sky"]


@pytest.mark.parametrize(
    ("image", "mode", "corners"),
    [
        (torch.tensor([[[0, 255]]], dtype=torch.uint8), "L", [0, 255]),
        (torch.tensor([[[1000.0, 3000.0]]]), "L", [0, 255]),
        (torch.full((1, 1, 2), 7.0), "L", [0, 0]),
        (torch.zeros(5, 1, 2, dtype=torch.uint8), "L", [0, 0]),
        (torch.ones(3, 1, 2, dtype=torch.uint8), "RGB", [[1, 1, 1]] * 2),
    ],
)
def test_any_image_can_be_displayed(image, mode, corners):
    shown = displayable(image)
    assert shown.mode == mode
    assert np.array(shown)[0].tolist() == corners


def test_thumbnails_keep_the_aspect_and_escape_their_text():
    markup = thumbnail(Image.new("RGB", (300, 100)), 90, '"<x>"')
    assert 'width="90" height="30" alt="&quot;&lt;x&gt;&quot;"' in markup
    assert images_of(markup)[0].size == (90, 30)
