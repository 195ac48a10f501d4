"""Predicted masks come out in the values and colors of the masks that were trained on."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data import DataConfig
from skipweave.data.segmentation.class_list import read_classes
from skipweave.data.segmentation.mask_files import open_mask
from skipweave.plotting.mask_overlays import mask_image
from skipweave.training import Description, FitConfig, ModelConfig, fit, load_run
from skipweave_cli import main
from tests.errors import raises

# A class list, how masks are saved, and the mode in which predicted ones come out.
TABLES = {
    "0 and 255": ("name,value\nground,0\nroad,255\n", "L", "L"),
    "no values": ("name\nground\nroad\n", "L", "L"),
    "swapped": ("name,value\nground,7\nroad,3\nvoid,0\n", "L", "L"),
    "16 bits": ("name,value\nground,1000\nroad,40000\nvoid,0\n", "I;16", "I;16"),
    "several rows of a class": ("name,value\nground,10\nroad,20\nground,30\n", "L", "L"),
    "colors": ("name,r,g,b\nground,10,20,30\nroad,200,100,0\n", "RGB", "P"),
    "values and colors": ("name,value,r,g,b\nvoid,0,0,0,0\nground,9,10,20,30\nroad,255,200,100,0\n", "L", "P"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_predicted_mask_has_the_values_of_the_dataset(tmp_path: Path, name: str):
    text, saved, mode = TABLES[name]
    (tmp_path / "classes.csv").write_text(text)
    classes = read_classes(tmp_path / "classes.csv")
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    labels = np.zeros((16, 16), dtype=np.int64)
    labels[:, 8:] = 1
    for number in range(6):
        pixels = np.array(classes.palette if saved == "RGB" else classes.values)[labels]
        mask = Image.fromarray(pixels.astype(np.uint16 if saved == "I;16" else np.uint8))
        assert mask.mode == saved
        mask.save(tmp_path / "masks" / f"{number}.png")
        Image.fromarray((60 + 120 * labels).astype(np.uint8)).save(tmp_path / "images" / f"{number}.png")
    model = ModelConfig("fc_logdensenet103", {"units": [1, 1, 1], "growth": 6})
    data = DataConfig(name="masks", root=tmp_path, validation=1)
    run = fit(FitConfig(model, data, epochs=8, batch_size=2, output=tmp_path / "runs", accelerator="cpu"))
    assert load_run(run.run_dir)[2].values == classes.values
    words = [
        "predict",
        str(tmp_path / "images" / "0.png"),
        "--run",
        str(run.run_dir),
        "--output",
        str(tmp_path / "out"),
    ]
    assert main(words) == 0
    made = tmp_path / "out" / "0_labels.png"
    with Image.open(made) as image, Image.open(tmp_path / "masks" / "0.png") as mask:
        assert image.mode == mode
        wanted = np.asarray(mask)
        got = np.asarray(image.convert("RGB") if saved == "RGB" else image)
    if saved == "RGB":
        assert (got == wanted).all(-1).mean() > 0.8
    else:
        assert set(np.unique(got)) <= set(classes.values)
        assert (got == wanted).mean() > 0.8
    assert (open_mask(made, classes).numpy() == labels).mean() > 0.8


def test_a_description_has_the_values_and_older_files_have_labels(tmp_path: Path, class_list, make_pairs):
    make_pairs(tmp_path, [str(number) for number in range(5)])
    class_list(tmp_path, "name,value\nground,0\nroad,1\nvoid,2\n")
    model = ModelConfig("fc_logdensenet103", {"units": [1], "growth": 2})
    run = fit(FitConfig(model, DataConfig(name="masks", root=tmp_path), epochs=1, batch_size=2, output=tmp_path / "r"))
    description = replace(load_run(run.run_dir)[2], values=(40, 7))
    plain = json.loads(json.dumps(description.as_plain()))
    assert (plain["values"], plain["colored"]) == ([40, 7], False)
    assert Description.from_plain(plain, tmp_path) == description
    del plain["values"], plain["colored"]
    old = Description.from_plain(plain, tmp_path)
    assert (old.values, old.colored) == ((0, 1), True)
    for wrong in ([0], [0, 0], [0, 70_000], ["a", "b"], 5):
        with raises(tmp_path):
            Description.from_plain(plain | {"values": wrong}, tmp_path)


def test_classification_datasets_have_no_mask_values(tmp_path: Path, make_tiny):
    description = load_run(fit(make_tiny(tmp_path, epochs=1)).run_dir)[2]
    assert not {"values", "colored"} & set(description.as_plain())


def test_a_label_without_a_mask_value_raises():
    with raises("labels", 0, 1):
        mask_image(torch.full((2, 2), 2), (0, 255))
