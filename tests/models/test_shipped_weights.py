"""Weights that ship with the package: their size, and their metrics on stored images and on the test split."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

import skipweave
from skipweave.inference.evaluation import evaluate_images
from skipweave.training import FitConfig, load_weights
from skipweave.training.run.loading import RunImages, load_data
from skipweave_config.config_files import read
from skipweave_config.shipped_weights import ShippedWeights, shipped_weights
from tests.models.image_samples import SAMPLES, file_of, first_images, sample

SHIPPED = list(shipped_weights().values())
FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python", "mnist": "MNIST", "camvid": "CamVid"}
RESTRICTED = {"camvid"}  # for personal and research use: images are not stored
each_of = pytest.mark.parametrize("weights", SHIPPED, ids=[each.name for each in SHIPPED])


def test_files_are_small() -> None:
    sizes = {each.name: each.file.stat().st_size for each in SHIPPED}
    assert {name: size for name, size in sizes.items() if size > 6e6} == {}
    assert sum(sizes.values()) <= 20e6


@each_of
def test_weights_are_described(weights: ShippedWeights) -> None:
    assert weights.verified().stat().st_size == weights.facts.bytes
    assert weights.name in skipweave.list_models(pretrained=True)
    cfg = timm.get_pretrained_cfg(weights.name)
    _, description = load_weights(weights.file)
    assert (weights.model, cfg.label_names) == (description.model, description.classes)
    assert (cfg.mean, cfg.std) == (description.preprocessing.mean, description.preprocessing.std)
    assert weights.facts.value("test", "float16") is not None
    mirrored = weights.facts.data != "mnist"  # digits are not
    assert (weights.facts.value(augmented=True) is not None) == mirrored
    assert {path.name for path in weights.folder.iterdir()} == {
        "README.md",
        "config.json",
        "config.yaml",
        "model.safetensors",
    }


@each_of
def test_the_error_on_stored_images(weights: ShippedWeights) -> None:
    if weights.facts.data in RESTRICTED:
        pytest.skip(f"images of {weights.facts.data} are not stored")
    images, labels = sample(weights.facts.data)
    _, description = load_weights(weights.file)
    network = skipweave.create_model(weights.name, pretrained=True).eval()
    with torch.inference_mode():
        logits = network(torch.stack([description.preprocessing(image) for image in images]))
    error = 100 * (logits.argmax(1) != labels).double().mean().item()
    assert error == pytest.approx(weights.facts.value("sample"), abs=0.5)  # one image


@each_of
@pytest.mark.parametrize("in_chans", [1, 6])
def test_other_channels_give_the_logits_of_the_image_repeated(weights: ShippedWeights, in_chans: int) -> None:
    own = timm.get_pretrained_cfg(weights.name).input_size[0]
    images = torch.rand(2, 1, 28, 28)
    with torch.inference_mode():
        network, adapted = (
            skipweave.create_model(weights.name, pretrained=True, in_chans=channels).eval().double()
            for channels in (own, in_chans)
        )
        expected = network(images.double().expand(-1, own, -1, -1))
        logits = adapted(images.double().expand(-1, in_chans, -1, -1))
    assert logits == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.slow
@each_of
def test_the_metric_on_the_test_split(weights: ShippedWeights, real_data: Path) -> None:
    facts = weights.facts
    if not (facts.data in FOLDERS and (real_data / FOLDERS[facts.data]).is_dir()):
        pytest.skip(f"needs {facts.data} in SKIPWEAVE_DATA")
    config = read(FitConfig, weights.folder / "config.yaml")
    data = load_data(config.data, real_data)
    network = skipweave.create_model(weights.name, pretrained=True).eval()
    *_, description = load_weights(weights.folder / "model.safetensors")
    run = RunImages(network, replace(config, batch_size=500), data, data.test, description)
    *_, metrics = evaluate_images(run, accelerator="cpu")
    assert metrics.images == next(each.images for each in facts.results if each.split == "test")
    assert metrics.compute()[facts.metric] == pytest.approx(facts.value(), abs=0.05)


@pytest.mark.parametrize("dataset", SAMPLES)
def test_the_stored_images_are_test_images(dataset: str, real_data: Path) -> None:
    if not (real_data / FOLDERS[dataset]).is_dir():
        pytest.skip(f"needs {dataset} in SKIPWEAVE_DATA")
    images, labels = sample(dataset)
    side = SAMPLES[dataset].side
    assert file_of(dataset).stat().st_size < 700_000
    assert images.shape == (200, {"cifar10": 3, "mnist": 1}[dataset], side, side)
    assert labels.bincount().tolist() == [20] * 10
    assert torch.equal(images, first_images(dataset, real_data))
