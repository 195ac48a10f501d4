"""Segmentation networks by name: any encoder with a decoder of segmentation_models_pytorch."""

import importlib.util

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file
from torch import nn

import skipweave
from skipweave.models import check_pretrained
from skipweave.models.encoder_decoder import parse
from skipweave_config.errors import SkipweaveError
from tests.errors import assert_each_reports, raises

SMALL = {"units": [1, 1, 1, 1], "growth": 4}
ENCODERS = {
    "tu-sparsenet121_32": SMALL,
    "tu-logdensenet169": SMALL,
    "tu-resnet10t": {},
    "resnet18": {},
}


@pytest.mark.parametrize(
    ("decoder", "encoder"),
    [*(("unet", encoder) for encoder in ENCODERS), *((d, "tu-sparsenet121_32") for d in ("fpn", "linknet", "upernet"))],
)
def test_any_size_of_images(decoder, encoder):
    with torch.device("meta"):
        network = skipweave.create_model(
            f"smp:{decoder}:{encoder}", num_classes=5, in_chans=2, **ENCODERS[encoder]
        ).eval()
        assert network(torch.empty(1, 2, 33, 70)).shape == (1, 5, 33, 70)
    assert network.get_classifier().out_channels == 5


@pytest.mark.parametrize("name", ["smp:deeplabv3plus:tu-sparsenet121_32", "smp:segformer:mit_b0"])
def test_no_memory_for_weights_on_the_meta_device(name):
    with torch.device("meta"):
        network = skipweave.create_model(name).eval()
        assert network(torch.empty(1, 3, 40, 40)).shape == (1, 11, 40, 40)
    assert all(tensor.is_meta for tensor in (*network.parameters(), *network.buffers()))


def test_a_vision_transformer_with_its_decoder():
    with torch.device("meta"):
        network = skipweave.create_model("smp:dpt:tu-vit_tiny_patch16_224", dynamic_img_size=True).eval()
        assert network(torch.empty(1, 3, 70, 101)).shape == (1, 11, 70, 101)


def test_scores_are_those_of_smp_on_the_padded_image():
    network = skipweave.create_model("smp:unet:tu-sparsenet121_32", num_classes=3, **SMALL).eval()
    theirs = smp.Unet("tu-sparsenet121_32", encoder_weights=None, classes=3, **SMALL).eval()
    theirs.load_state_dict(network.network.state_dict())
    images = torch.randn(2, 3, 64, 96)
    images[:, :, 50:] = 0
    images[:, :, :, 70:] = 0
    with torch.inference_mode():
        expected = theirs(images)
        assert torch.equal(network(images), expected)
        assert torch.equal(network(images[:, :, :50, :70]), expected[:, :, :50, :70])


@pytest.mark.parametrize("encoder", ["tu-sparsenet121_32", "tu-logdensenet169"])
def test_our_encoders_are_trained(encoder):
    network = skipweave.create_model(f"smp:unet:{encoder}", num_classes=3, **SMALL)
    network(torch.randn(2, 3, 40, 40)).square().mean().backward()
    convolutions = [part.weight for part in network.modules() if isinstance(part, nn.Conv2d)]
    assert all(weight.grad is not None and weight.grad.any() for weight in convolutions)


def test_unknown_parts_are_reported_together():
    with pytest.raises(SkipweaveError) as caught:
        parse("smp:unett:tu-sparsenet121")
    assert_each_reports(caught.value.problems, ("unett", "unet"), ("tu-sparsenet121", "tu-sparsenet121_32"))
    with raises("timm-skresnet18", "tu-skresnet18"):
        parse("smp:unet:timm-skresnet18")


@pytest.mark.parametrize("name", ["smp:unet", "smp:unet:", "smp::resnet18"])
def test_incomplete_names(name):
    with raises(name, "smp:DECODER:ENCODER"):
        parse(name)


@pytest.mark.parametrize(
    ("name", "argument", "near"),
    [
        ("smp:unet:resnet18", "growth", "decoder_channels"),
        ("smp:unet:resnet18", "decoder_chanels", "decoder_channels"),
        ("smp:unet:tu-sparsenet121_32", "classes", "num_classes"),
        ("smp:unet:tu-sparsenet121_32", "growht", "growth"),
        ("smp:unet:resnet18", "activation", "num_classes"),
    ],
)
def test_unknown_arguments(name, argument, near):
    with raises(argument, near):
        skipweave.create_model(name, **{argument: 1})


def test_the_extra_is_named_where_the_package_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with raises("segmentation_models_pytorch", "skipweave[segmentation]"):
        skipweave.create_model("smp:unet:resnet18")


def test_groups_of_parameters():
    network = skipweave.create_model("smp:unet:resnet18")
    groups = timm.models.group_parameters(network, network.group_matcher())
    assert [{name.split(".")[1] for name in names} for _, names in sorted(groups.items())] == [
        {"encoder"},
        {"decoder"},
        {"segmentation_head"},
    ]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub whose only file is written by the test; returns its path and the repositories asked for."""
    path, asked = tmp_path / "model.safetensors", []

    def download(repo_id: str, filename: str, **_: object) -> str:
        asked.append(repo_id)
        return str(path)

    monkeypatch.setattr("timm.models._hub.hf_hub_download", download)
    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", download)
    return path, asked


def test_pretrained_weights_of_a_timm_encoder(hub):
    path, asked = hub
    theirs = timm.create_model("resnet10t")
    save_file(theirs.state_dict(), path)
    ours = skipweave.create_model("smp:unet:tu-resnet10t", pretrained=True)
    assert asked == ["timm/resnet10t.c3_in1k"]
    loaded = ours.network.encoder.model.state_dict()
    assert loaded
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in loaded.items())


def test_pretrained_weights_of_an_encoder_of_smp(hub):
    path, asked = hub
    theirs = smp.encoders.get_encoder("resnet18").state_dict()
    save_file(theirs, path)
    ours = skipweave.create_model("smp:unet:resnet18", pretrained=True)
    assert set(asked) == {"smp-hub/resnet18.imagenet"}
    assert all(torch.equal(value, theirs[name]) for name, value in ours.network.encoder.state_dict().items())


def test_encoders_without_pretrained_weights():
    check_pretrained("smp:unet:resnet18")
    check_pretrained("smp:unet:tu-densenet121_32.tv_in1k")
    with raises("sparsenet121_32"):
        check_pretrained("smp:unet:tu-sparsenet121_32")


def test_weights_that_cannot_be_downloaded(monkeypatch):
    def offline(*_: object, **__: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", offline)
    with raises("smp:unet:resnet18", "no route to host"):
        skipweave.create_model("smp:unet:resnet18", pretrained=True)
