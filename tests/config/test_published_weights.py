"""Pretrained weights by timm's own loading code: from a mocked hub, and from local files."""

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from timm.models import get_pretrained_cfg
from torch import nn

import skipweave
from skipweave_config.errors import SkipweaveError
from skipweave_config.published_weights import PUBLISHED
from tests.errors import raises

TAGS = [(model, tag) for model, tags in PUBLISHED.items() for tag in tags]
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    torch.manual_seed(0)
    network = timm.create_model("densenet121").eval()
    for name, buffer in network.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return network


@pytest.fixture(params=["hub", "file", "torch file"])
def source(request, theirs, tmp_path, monkeypatch) -> dict[str, object]:
    """Overrides that load the weights of `theirs`."""
    path = tmp_path / ("model.pth" if request.param == "torch file" else "model.safetensors")
    torch.save(theirs.state_dict(), path) if path.suffix == ".pth" else save_file(theirs.state_dict(), path)
    if request.param != "hub":
        return {"pretrained": True, "pretrained_cfg_overlay": {"file": str(path)}}

    def download(repo_id: str, filename: str, **_: object) -> str:
        assert (repo_id, filename) == ("timm/densenet121.tv_in1k", "model.safetensors")
        return str(path)

    monkeypatch.setattr("timm.models._hub.hf_hub_download", download)
    return {"pretrained": True}


def build(source, **overrides):
    return skipweave.create_model("densenet121_32.tv_in1k", **source, **overrides).eval()


def close(ours, expected):
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


def test_the_network_is_that_of_timm(source, theirs):
    with torch.inference_mode():
        close(build(source)(IMAGES), theirs(IMAGES))


def test_another_head_other_channels_and_feature_maps(source, theirs):
    with torch.inference_mode():
        ours, features = build(source, num_classes=5), theirs.forward_features(IMAGES)
        close(ours.forward_features(IMAGES).relu(), features.relu())
        assert ours(IMAGES).shape == (2, 5)
        close(build(source, num_classes=0)(IMAGES), theirs.forward_head(features, pre_logits=True))
        gray = timm.models.adapt_input_conv(1, theirs.features.conv0.weight)
        assert torch.equal(build(source, in_chans=1).stem.conv.weight, gray)
        maps = build(source, features_only=True)(IMAGES)
        close(maps[0], theirs.features.norm0(theirs.features.conv0(IMAGES)))


@pytest.mark.parametrize(("model", "tag"), TAGS)
def test_entries_are_those_of_timm_and_torchvision(model, tag):
    depth = model.partition("_")[0]
    ours, timms = get_pretrained_cfg(f"{model}.{tag}"), get_pretrained_cfg(f"{depth}.{tag}")
    for name in ("hf_hub_id", "interpolation", "crop_pct", "mean", "std", "num_classes", "input_size", "license"):
        assert getattr(ours, name) == getattr(timms, name), name
    assert (ours.test_input_size, ours.test_crop_pct) == (timms.test_input_size, timms.test_crop_pct)
    if tag == "tv_in1k":
        assert ours.url == torchvision.models.get_model_weights(depth).IMAGENET1K_V1.url


def test_models_with_weights_are_listed_with_tags():
    listed = skipweave.list_models(pretrained=True)
    assert {f"{model}.{tag}" for model, tag in TAGS} <= set(listed)
    assert skipweave.list_models("densenet169*", pretrained=True) == ["densenet169_32.tv_in1k"]
    assert set(listed) <= set(timm.list_models(pretrained=True))
    assert all("." not in name for name in skipweave.list_models())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("sparsenet40_24", "densenet121_32.ra_in1k"),
        ("densenet121_32.other", "densenet121_32.tv_in1k"),
        ("sparsenet40_12", "sparsenet40_12.mnist"),  # of another number of channels
    ],
)
def test_models_without_weights_name_those_that_have_some(name, told):
    with pytest.raises(SkipweaveError, match=rf"{name.partition('.')[0]}.*{told}"):
        skipweave.create_model(name, pretrained=True)


@pytest.mark.parametrize("name", ["densenet121_32", "resnet18"])
def test_a_failed_download_names_the_model(name, monkeypatch):
    def download(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("timm.models._hub.hf_hub_download", download)
    with pytest.raises(SkipweaveError, match=rf"{name}.*no route to host"):
        skipweave.create_model(name, pretrained=True)


def test_a_local_file_of_another_network_is_rejected(tmp_path: Path):
    save_file({"conv.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(SkipweaveError, match="densenet121_32"):
        build({"pretrained": True, "pretrained_cfg_overlay": {"file": str(tmp_path / "model.safetensors")}})


@pytest.mark.parametrize("name", ["densenet121_32", "sparsenet40_24", "logdensenet_v1_12_16"])
def test_a_missing_local_file_is_named(name: str, tmp_path: Path):
    for file in (tmp_path / "none.safetensors", tmp_path):
        with raises(name, file):
            skipweave.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(file)})
