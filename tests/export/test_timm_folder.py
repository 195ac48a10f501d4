"""timm folders: a bitwise equal network, with preprocessing and classes."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from timm.data import create_transform, resolve_data_config
from torchvision import transforms

from skipweave.export import hub_config, model_card
from skipweave.export.timm_folder import _crop_pct
from skipweave.training import load_weights
from skipweave.training.checkpoint.weights_file import save_weights
from skipweave_config.errors import SkipweaveError
from tests.export.networks import CLASSES, LABEL_PIXELS, NETWORKS, THINNED, trained

WHOLE = [name for name in NETWORKS if name not in THINNED]


@pytest.mark.parametrize("name", WHOLE)
def test_timm_builds_the_same_network(name: str, tmp_path: Path):
    network, description = trained(name)
    save_weights(tmp_path / "model.safetensors", network.state_dict(), description)
    (tmp_path / "config.json").write_text(json.dumps(hub_config(network, description)))
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded(images), network(images))
    assert tuple(loaded.pretrained_cfg["label_names"]) == CLASSES
    again, read = load_weights(tmp_path / "model.safetensors")  # the same file is enough for skipweave
    assert json.dumps(read.as_plain()) == json.dumps(description.as_plain())
    with torch.inference_mode():
        assert torch.equal(again(images), network(images))


def test_timm_gets_the_preprocessing(tmp_path: Path):
    network, description = trained("sparsenet")
    save_weights(tmp_path / "model.safetensors", network.state_dict(), description)
    (tmp_path / "config.json").write_text(json.dumps(hub_config(network, description)))
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    data_config = resolve_data_config({}, model=loaded)
    assert data_config["input_size"] == (3, 32, 32)
    assert (data_config["interpolation"], data_config["crop_mode"]) == ("bilinear", "center")
    resize, crop, _, normalize = create_transform(**data_config).transforms
    assert isinstance(resize, transforms.Resize)
    assert resize.size == description.preprocessing.resize
    assert tuple(crop.size) == (32, 32)
    assert tuple(normalize.mean.tolist()) == pytest.approx(description.preprocessing.mean)
    assert tuple(normalize.std.tolist()) == pytest.approx(description.preprocessing.std)


@pytest.mark.parametrize(
    ("model", "ours"), [("resnet10t", False), ("resnet18.a1_in1k", False), ("densenet40_12", True)]
)
def test_the_card_imports_skipweave_for_its_own_models_only(model: str, ours: bool):
    _, description = trained("sparsenet")
    card = model_card(replace(description, model=model), 1, {})
    assert ("import skipweave" in card) == ours
    assert "import timm" in card


def test_several_labels_per_image_are_in_config_and_card(tmp_path: Path):
    network, description = trained("sparsenet")
    several = replace(description, multi_label=True)
    config = hub_config(network, several)
    assert config["problem_type"] == "multi_label_classification"
    assert "problem_type" not in hub_config(network, description)
    assert "sigmoid" in model_card(several, 1, {})
    assert "sigmoid" not in model_card(description, 1, {})
    save_weights(tmp_path / "model.safetensors", network.state_dict(), several)
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded(images), network(images))


def test_a_loaded_network_takes_other_classes(tmp_path: Path):
    network, description = trained("densenet_bc")
    save_weights(tmp_path / "model.safetensors", network.state_dict(), description)
    (tmp_path / "config.json").write_text(json.dumps(hub_config(network, description)))
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=7).eval()
    assert loaded(torch.randn(1, 3, 32, 32)).shape == (1, 7)
    assert torch.equal(loaded.stem.conv.weight, network.stem.conv.weight)


@given(st.integers(1, 2000), st.integers(0, 500))
def test_timm_resizes_to_the_exact_side(crop: int, more: int):
    assert math.floor(crop / _crop_pct(crop, crop + more)) == crop + more
    assert _crop_pct(crop, crop + more) == pytest.approx(crop / (crop + more))


@pytest.mark.parametrize("name", THINNED)
def test_thinned_networks_raise(name: str):
    with pytest.raises(SkipweaveError, match=r"(sparsify|depth_multiplier)"):
        hub_config(*trained(name))


def test_the_facts_of_a_model_card():
    _, description = trained("sparsenet")
    card = model_card(
        description, 12345, {"top-1 error, validation images": "1.50 %", "top-1 error, test images": "2.25 %"}
    )
    _, head, body = card.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "timm", "skipweave"],
    }
    for line in (
        "# sparsenet40_24",
        "| parameters | 12,345 |",
        "| top-1 error, test images | 2.25 % |",
        "`birds`, 4 classes",
    ):
        assert line in body
    assert "error" not in model_card(description, 12345, {})
    _, description = trained(LABEL_PIXELS[0])


def test_cells_of_a_model_card_are_escaped():
    _, description = trained("sparsenet")
    harmful = replace(description, data="a`\n---\n# b | <script> \ud800", args={"x": "`|\n"})
    card = model_card(harmful, 1, {})
    card.encode("utf-8")
    assert card.count("\n") == model_card(description, 1, {}).count("\n")
    row = next(line for line in card.splitlines() if line.startswith("| trained on"))
    assert row == r"| trained on | `a' --- # b \| <script> ?`, 4 classes |"
