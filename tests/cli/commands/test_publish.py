"""A small network from its run to weights of the package, which load by name and are fine-tuned."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models import adapt_input_conv

import skipweave
from skipweave.engines import engine_files
from skipweave.models import FastSparseNet, fast_sparsenet
from skipweave.training import load_run, load_weights
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave_cli import main
from skipweave_cli.commands.publish import publish
from skipweave_cli.options import PublishOptions
from skipweave_cli.parser import parse
from skipweave_config import shipped_weights
from tests.cli.commands import small_variants
from tests.errors import raises

Rejects = Callable[..., None]
MODEL, NAME = "tiny_fast", "tiny_fast.photos"
STEM = "stem.conv.weight"
CLASSES = ("ape", "bat", "cat")
FIT = ["fit", "--model.name", MODEL, "--data.name", "folder", "--data.image_size", "16", "--data.validation", "0.2"]
SHORT = ["--epochs", "1", "--batch_size", "32", "--accelerator", "cpu"]
GIVEN = ["--commit", "1234567", "--device", "one core", "--data_terms", "UCI, CC BY 4.0"]


@contextmanager
def registered(folder: Path) -> Iterator[None]:
    """Register a small variant with the weights of a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped_weights, "DEFAULT_CLASSIFIER", NAME)
        cfg = dict(fast_sparsenet._CFG, num_classes=3)
        with small_variants.registered(FastSparseNet, MODEL, dict(units=1, growth=4), cfg, folder):
            yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of another color per class."""
    root, rng = tmp_path_factory.mktemp("data") / "photos", np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(120):
            pixels = rng.integers(0, 200, (16, 16, 3), dtype=np.uint8)
            pixels[..., label] += 20
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    with registered(runs / "none"):
        assert main([*FIT, *SHORT, "--data.root", str(photos), "--output", str(runs)]) == 0
    return runs / f"{MODEL}_folder_1"


@pytest.fixture(scope="module")
def folder(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    with registered(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr("skipweave.engines.engine_files.missing", lambda names: [f"{names} not installed"])
        assert main(["publish", str(run), "--tag", "photos", *GIVEN]) == 0
    return folder


@pytest.fixture
def shipped(folder: Path) -> Iterator[shipped_weights.ShippedWeights]:
    with registered(folder):
        yield shipped_weights.shipped_weights()[NAME]


@pytest.fixture(scope="module")
def trained(run: Path) -> dict[str, torch.Tensor]:
    return open_saved(run / "model.safetensors").tensors()


def images(channels: int = 3) -> torch.Tensor:
    return torch.randn(4, channels, 16, 16, generator=torch.Generator().manual_seed(0))


def pretrained(**overrides: Any) -> torch.nn.Module:
    return skipweave.create_model(MODEL, pretrained=True, **overrides).eval()


def test_metrics_and_facts_are_those_of_the_run(shipped: shipped_weights.ShippedWeights, run: Path) -> None:
    facts, summary = shipped.facts, json.loads((run / "summary.json").read_text())
    measured = {(each.split, each.weights, each.tta) for each in facts.results}
    assert measured == {
        (split, weights, tta)
        for split in ("validation", "test", "sample")
        for weights in ("float32", "float16")
        for tta in ("none", "flip_shift")
    }
    for split, values in (("validation", summary["val_metrics"]), ("test", summary["test_metrics"])):
        assert facts.value(split, "float32") == pytest.approx(values["top1_error"], abs=1e-3)
    assert (facts.metric, facts.data, facts.epochs, facts.seed) == ("top1_error", "folder", 1, summary["seed"])
    assert (facts.commit, facts.device, facts.data_terms) == tuple(GIVEN[1::2])
    card = (shipped.folder / "README.md").read_text()
    value = facts.text(facts.value("test", "float16", augmented=True))
    assert f"| top-1 error, test images, float16, test-time augmentation flip_shift | {value} |" in card
    assert f'create_model("{NAME}", pretrained=True)' in card
    assert str(run.parent) not in "".join(path.read_text() for path in shipped.folder.iterdir() if path != shipped.file)


def test_the_sample_is_the_first_images_of_each_class(shipped: shipped_weights.ShippedWeights, run: Path) -> None:
    network, config, _ = load_run(run)
    data = skipweave.training.run.loading.load_data(config.data)
    labels = [int(data.test[index][1]) for index in range(len(data.test))]
    chosen = [index for label in range(3) for index in [i for i, each in enumerate(labels) if each == label][:20]]
    with torch.inference_mode():
        logits = network(torch.stack([data.eval_transform(data.test[index][0]) for index in chosen]))
    wrong = (logits.argmax(1) != torch.tensor([labels[index] for index in chosen])).double().mean().item()
    assert shipped.facts.value("sample", "float32") == pytest.approx(100 * wrong, abs=1e-3)


def test_weights_load_by_name(shipped: shipped_weights.ShippedWeights, trained: dict[str, torch.Tensor]) -> None:
    network = pretrained()
    parameters = {name for name, _ in network.named_parameters()}
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, trained[name].half().float() if name in parameters else trained[name]), name
    others = [timm.create_model(each, pretrained=True).eval() for each in (MODEL, NAME, f"local-dir:{shipped.folder}")]
    others.append(load_weights(shipped.file)[0])
    with torch.inference_mode():
        assert all(torch.equal(other(images()), network(images())) for other in others)
    cfg = network.pretrained_cfg
    assert (cfg["tag"], cfg["label_names"], cfg["input_size"]) == ("photos", CLASSES, (3, 16, 16))
    assert cfg["license"] == "apache-2.0"
    facts = shipped.facts
    assert {f"sha256: {facts.sha256}", f"seed: {facts.seed}", "data_terms: UCI, CC BY 4.0"} <= set(cfg["notes"])
    assert f"top-1 error, test images, float16: {facts.text(facts.value())}" in cfg["notes"]
    assert cfg["mean"] == pytest.approx(load_weights(shipped.file)[1].preprocessing.mean)


def test_other_classes_channels_and_feature_maps(shipped: shipped_weights.ShippedWeights) -> None:
    network = pretrained()
    with torch.inference_mode():
        features = network.forward_features(images())
        assert torch.equal(pretrained(num_classes=7).forward_features(images()), features)
        assert torch.equal(pretrained(num_classes=0)(images()), network.forward_head(features, pre_logits=True))
        for channels in (1, 4):
            other = pretrained(in_chans=channels)
            filters = adapt_input_conv(channels, network.stem.conv.weight.detach())
            torch.testing.assert_close(other.stem.conv.weight.detach(), filters, rtol=1e-3, atol=1e-3)  # half precision
            assert other(images(channels)).shape == (4, 3)
        assert torch.equal(pretrained(features_only=True)(images())[0], network.stem(images()))


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damaged_weights_are_reported(damage: str, folder: Path, tmp_path: Path) -> None:
    file = Path(shutil.copytree(folder, tmp_path / "weights")) / NAME / "model.safetensors"
    if damage == "changed":
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    else:
        file.unlink()
    with registered(tmp_path / "weights"):
        for create in (skipweave.create_model, timm.create_model):
            with raises(NAME, file):
                create(MODEL, pretrained=True)
        assert skipweave.create_model(MODEL)


def test_weights_of_other_classes_are_no_default(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder / NAME, tmp_path / f"{MODEL}.other"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "num_classes": 20, "label_names": [*map(str, range(20))]}))
    with registered(tmp_path):
        assert skipweave.create_model(MODEL).num_classes == 3
        assert skipweave.list_models(MODEL, pretrained=True) == [f"{MODEL}.other"]
        with raises(MODEL, f"{MODEL}.other"):
            skipweave.create_model(MODEL, pretrained=True)


def test_models_lists_the_weights(
    shipped: shipped_weights.ShippedWeights, capsys: pytest.CaptureFixture[str], rejects: Rejects
) -> None:
    assert main(["models", "--pretrained"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert shipped.facts.text(shipped.facts.value()) in lines[NAME]
    assert shipped.facts.text(shipped.facts.value(augmented=True)) in lines[NAME]
    assert "31.9" in lines["densenet121_32.tv_in1k"]
    assert main(["models", MODEL, "--pretrained"]) == 0
    assert "densenet" not in capsys.readouterr().out
    rejects(["models", "squeezenet", "--pretrained"], "'squeezenet'")


def test_the_default_model_predicts(
    shipped: shipped_weights.ShippedWeights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(photo)
    capsys.readouterr()
    assert main(["predict", str(photo), "--model", NAME]) == 0
    by_name = capsys.readouterr().out
    assert main(["predict", str(photo)]) == 0
    first, rest = capsys.readouterr().out.split("\n", 1)
    assert rest == by_name
    for part in (NAME, "folder", "3 classes", "16x16", shipped.facts.text(shipped.facts.value())):
        assert part in first


def test_without_a_default_model_predict_reports(tmp_path: Path, rejects: Rejects) -> None:
    with registered(tmp_path):
        rejects(["predict", "a.png"], NAME, "--run")


@pytest.mark.parametrize("channels", [3, 1])
def test_fine_tuning_starts_from_the_weights(
    channels: int,
    photos: Path,
    shipped: shipped_weights.ShippedWeights,
    trained: dict[str, torch.Tensor],
    tmp_path: Path,
) -> None:
    words = ["--model.pretrained", "true", "--data.channels", str(channels), "--optim.lr", "1e-9"]
    assert main([*FIT, *SHORT, *words, "--data.root", str(photos), "--output", str(tmp_path)]) == 0
    (run,) = tmp_path.iterdir()
    tuned = open_saved(run / "model.safetensors").tensors()
    rounded = {name: tensor.half().float() for name, tensor in trained.items()}
    assert torch.equal(tuned[STEM], adapt_input_conv(channels, rounded[STEM]))  # fixed filters, whitened no more
    for name in ("stages.2.units.0.body.weight", "head.fc.weight"):
        torch.testing.assert_close(tuned[name], rounded[name], rtol=0, atol=1e-5)


def test_wrong_publications_are_rejected(folder: Path, run: Path, tmp_path: Path, rejects: Rejects) -> None:
    words = ["publish", run, "--tag", "photos"]
    with registered(folder):
        rejects([*words, *GIVEN], folder / NAME / "config.json")
        rejects([*words[:-1], "CIFAR", *GIVEN], "tag", "'CIFAR'")
        copy = shutil.copytree(run, tmp_path / "copy")
        (copy / "versions.json").unlink()
        for option in ("commit", "device", "data_terms"):
            place = GIVEN.index(f"--{option}")
            rejects(["publish", copy, "--tag", "photos", *GIVEN[:place], *GIVEN[place + 2 :]], copy, f"--{option}")
        config = (copy / "config.yaml").read_text()
        (copy / "config.yaml").write_text(re.sub("^start: .*$", f"start: {run}", config, flags=re.MULTILINE))
        rejects(["publish", copy, "--tag", "photos", *GIVEN], run)
        (copy / "config.yaml").write_text(config)
        (copy / "versions.json").write_text(json.dumps({"commit": "abcdef-dirty", "processor": "a CPU"}))
        rejects(["publish", copy, "--tag", "photos", "--data_terms", "CC0"], copy, "--commit")
        (copy / "summary.json").unlink()
        rejects(["publish", copy, "--tag", "photos", *GIVEN], copy)


def test_a_killed_publication_is_repeated(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the commit and device that the run recorded."""

    def kill(source: Path, target: Path) -> None:
        if target.name == "config.json":
            raise KeyboardInterrupt
        replace(source, target)

    replace, copy = os.replace, shutil.copytree(run, tmp_path / "run")
    (copy / "versions.json").write_text(json.dumps({"commit": "abcdef", "processor": "a CPU", "GPU": "none"}))
    words = ["publish", str(copy), "--tag", "photos", "--data_terms", "CC0"]
    monkeypatch.setattr("skipweave.engines.engine_files.missing", lambda names: [f"{names} not installed"])
    with registered(tmp_path / "weights"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", kill)
            with pytest.raises(KeyboardInterrupt):
                publish(parse(PublishOptions, words[1:], "publish"))
        assert (tmp_path / "weights" / NAME / "model.safetensors").is_file()
        assert shipped_weights.shipped_weights() == {}
        assert main(words) == 0
        (weights,) = shipped_weights.shipped_weights().values()
    assert (weights.facts.commit, weights.facts.device, weights.facts.data_terms) == ("abcdef", "a CPU", "CC0")
    assert weights.verified().parent.name == NAME
    assert len(list(weights.folder.iterdir())) == 4


@pytest.mark.slow
def test_int8_is_measured(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engine_files._TOLERANCES, "int8", 2)  # a network of one epoch has small outputs
    with registered(tmp_path):
        assert main(["publish", str(run), "--tag", "photos", *GIVEN]) == 0
        facts = shipped_weights.shipped_weights()[NAME].facts
    for split in ("validation", "test", "sample"):
        values = [facts.value(split, weights) for weights in ("float32", "int8")]
        assert values[1] == pytest.approx(values[0], abs=15)
