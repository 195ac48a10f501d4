"""Recipes load, and their headers are correct."""

import re
from pathlib import Path

import pytest
import torch
import yaml

import skipweave
from skipweave.analysis.profile import profile
from skipweave.training import FitConfig, OptimConfig
from skipweave.training.model_building import count_parameters
from skipweave_config.config_files import read
from skipweave_config.study_config import StudyConfig

ALL = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))
GENERAL = [
    path for path in ALL if path.stem in ("fast_cifar", "fast_cifar10", "fast96_cifar10", "mnist", "photos", "finetune")
]
RECIPES = [path for path in ALL if path not in GENERAL]  # those of the papers
# Images to train on, after the recipe's validation split; classes; channels, height and width.
SETS = {
    "digits": (1294, 10, (1, 8, 8)),
    "mnist": (60_000, 10, (1, 28, 28)),
    "cifar10": (50_000, 10, (3, 32, 32)),
    "cifar100": (50_000, 100, (3, 32, 32)),
    "svhn": (73_257 + 531_131, 10, (3, 32, 32)),
    "imagenet": (1_281_167, 1000, (3, 224, 224)),
    "camvid": (367, 11, (3, 360, 480)),
}
# Epochs done when the learning rate falls, where that is not after half and three quarters of them.
FALLS = {
    "sparsenet_imagenet": [30, 60],
    "seqresnet_imagenet": [30, 60, 90],
    "delugenet_imagenet": [30, 60, 90],
    "delugenet_cifar10": [149, 224],
}
SEGMENTATION = [path for path in RECIPES if "camvid" in path.stem]
SPARSITY = [path for path in RECIPES if path.stem in ("inception_imagenet", "vgg16n_imagenet")]
IMAGES = [path for path in RECIPES if path not in [*SEGMENTATION, *SPARSITY]]


def recipe(path: Path, folder: Path) -> FitConfig:
    """Load a recipe, with a root if its data needs one."""
    values = yaml.safe_load(path.read_text())
    if values["data"]["name"] != "digits":
        values["data"]["root"] = str(folder)
    (folder / path.name).write_text(yaml.safe_dump(values))
    return read(FitConfig, folder / path.name)


def header(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^# (Command|Cost|Hardware|Published|Measured) +(.+)$", path.read_text(), re.MULTILINE))


def test_every_named_dataset_has_a_recipe():
    assert {yaml.safe_load(path.read_text())["data"]["name"] for path in ALL} == {*SETS, "folder"}


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_study_of_a_recipe_trains_by_it(path: Path, tmp_path: Path):
    config = recipe(path, tmp_path)
    study = read(StudyConfig, tmp_path / path.name)
    (network,) = study.networks
    assert network.name == config.model.name
    assert study.fit_config(config.model, config.seed, config.output, network) == config


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_header_is_correct(path: Path, tmp_path: Path):
    config, facts = recipe(path, tmp_path), header(path)
    assert set(facts) == {"Command", "Cost", "Hardware", "Published", "Measured"}
    assert facts["Command"].startswith(f"skipweave fit --config recipes/{path.name}")

    images, classes, size = SETS[config.data.name]
    with torch.device("meta"):
        network = skipweave.create_model(
            config.model.name, **{"num_classes": classes, "in_chans": size[0], **config.model.args}
        )
    side = config.data.crop or config.data.image_size
    macs = profile(network, (size[0], side, side) if side else size).macs
    unit, word = (1e9, "billion") if macs >= 1e9 else (1e6, "million")
    digits = re.search(rf"([\d.]+) {word} multiply-adds", facts["Cost"])
    assert digits
    places = len(digits[1].partition(".")[2])
    assert digits[1] == f"{macs / unit:.{places}f}"
    assert f"{count_parameters(network):,} parameters" in facts["Cost"]
    held_out = config.data.validation
    steps = (images - held_out if isinstance(held_out, int) else images) // config.batch_size  # CamVid has its own
    assert f"{config.epochs} epochs of {steps:,} steps of {config.batch_size} images" in facts["Cost"]


@pytest.mark.parametrize("path", GENERAL, ids=lambda path: path.stem)
def test_the_headers_of_general_recipes_are_correct(path: Path, tmp_path: Path):
    config, facts = recipe(path, tmp_path), header(path)
    assert set(facts) == {"Command", "Cost", "Hardware", "Published", "Measured"}
    *_, size = SETS.get(config.data.name, (0, 10, (3, 224, 224)))
    with torch.device("meta"):
        network = skipweave.create_model(config.model.name, num_classes=10, in_chans=size[0])
    macs = profile(network, size).macs
    shown = f"{macs / 1e9:.1f} billion" if macs >= 1e9 else f"{macs / 1e6:.1f} million"
    assert f"{count_parameters(network):,} parameters" in facts["Cost"]
    assert f"{shown} multiply-adds" in facts["Cost"]
    assert f"{config.epochs} epochs" in facts["Cost"]


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)
def test_the_optimizer_is_that_of_the_papers(path: Path, tmp_path: Path):
    config = recipe(path, tmp_path)
    assert config.optim == OptimConfig(lr=0.1, momentum=0.9, nesterov=True, decay_norms_and_biases=True)
    assert config.data.augment
    steps = SETS[config.data.name][0] // config.batch_size
    factors = [
        config.schedule.factor(step, config.epochs * steps, 0) for step in range(0, config.epochs * steps, steps)
    ]
    falls = [epoch for epoch in range(1, config.epochs) if factors[epoch] < factors[epoch - 1]]
    assert falls == FALLS.get(path.stem, [config.epochs // 2, round(0.75 * config.epochs)])


@pytest.mark.parametrize("path", SPARSITY, ids=lambda path: path.stem)
def test_the_optimizer_of_inception_and_vgg_is_tensorflows_rmsprop(path: Path, tmp_path: Path):
    config = recipe(path, tmp_path)
    first, clip = (0.045, 2.0) if "inception" in path.stem else (0.01, None)
    options = dict(momentum=0.9, weight_decay=4e-5, clip_grad=clip, args={"alpha": 0.9, "eps": 1.0})
    assert config.optim == OptimConfig("rmsproptf", first, **options)
    factors = [config.schedule.factor(5004 * epoch, 100 * 5004, epoch) for epoch in range(6)]
    assert factors == pytest.approx([1, 1, 0.94, 0.94, 0.94**2, 0.94**2])
    assert (config.epochs, config.batch_size) == (100, 256)


@pytest.mark.parametrize("path", SEGMENTATION, ids=lambda path: path.stem)
def test_the_two_phases_of_segmentation_are_those_of_the_paper(path: Path, tmp_path: Path):
    config = recipe(path, tmp_path)
    second = config.data.crop is None
    assert (config.data.crop, config.batch_size, config.epochs) == ((None, 2, 300) if second else (224, 6, 700))
    assert config.optim == OptimConfig("rmsprop", 5e-4 if second else 1e-3, 0, decay_norms_and_biases=True)
    assert config.schedule.factor(61, 700 * 61, 1) == 0.995
    assert (config.loss.heads, config.loss.last_epochs) == ("halves", 1 if second else 0)
    assert config.loss.class_weights == "median_frequency"


def test_digits_train_from_the_recipe_alone(tmp_path: Path):
    from skipweave_cli import main

    path = next(path for path in RECIPES if path.stem == "sparsenet_digits")
    words = ["--epochs", "1", "--batch_size", "512", "--model.args.units", "1", "--output", str(tmp_path / "runs")]
    assert main(["fit", "--config", str(path), *words]) == 0
