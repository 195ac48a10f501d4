"""A small segmentation network of a study's arguments, from its run to weights of the package, and what uses them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import skipweave
from skipweave.models import FCLogDenseNet
from skipweave.models.registry import segmentation_cfg
from skipweave.training import load_weights
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave_cli import main
from skipweave_config import shipped_weights
from tests.cli.commands import small_variants

MODEL, NAME = "tiny_masks", "tiny_masks.streets"
ARGUMENTS = dict(units=(1, 1, 1), growth=4)
FIT = ["fit", "--data.name", "masks", "--data.crop", "8", "--epochs", "1", "--batch_size", "4", "--accelerator", "cpu"]
GIVEN = ["--commit", "1234567", "--device", "one core", "--data_terms", "CC0"]


@pytest.fixture(scope="module")
def streets(
    tmp_path_factory: pytest.TempPathFactory, make_pairs: Callable[..., None], class_list: Callable[..., Path]
) -> Path:
    root = tmp_path_factory.mktemp("data") / "streets"
    make_pairs(root, [f"picture{number}" for number in range(20)])
    class_list(root)
    return root


@contextmanager
def registered(folder: Path) -> Iterator[None]:
    """Register the small variant with the weights of a folder."""
    cfg = segmentation_cfg("1711.00002", classifier="head.conv", first_conv="stem")
    with small_variants.registered(FCLogDenseNet, MODEL, ARGUMENTS, cfg, folder):
        yield


@pytest.fixture(scope="module")
def weights(streets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[shipped_weights.ShippedWeights]:
    """Weights of a run of `fc_logdensenet103` with the arguments of the small variant."""
    runs, folder = (tmp_path_factory.mktemp(name) for name in ("runs", "weights"))
    given = ["--model.name", "fc_logdensenet103", "--model.args.units", "[1, 1, 1]", "--model.args.growth", "4"]
    assert main([*FIT, *given, "--data.root", str(streets), "--output", str(runs)]) == 0
    with registered(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr("skipweave.engines.engine_files.missing", lambda names: [f"{names} not installed"])
        assert main(["publish", str(runs / "fc_logdensenet103_masks_1"), "--tag", "streets", *GIVEN]) == 0
    with registered(folder):
        (published,) = shipped_weights.shipped_weights().values()
        yield published


def test_the_registered_name_stands_for_the_model(weights: shipped_weights.ShippedWeights) -> None:
    assert weights.name == NAME
    network, description = load_weights(weights.file)
    assert (description.model, set(description.args)) == (MODEL, {"num_classes", "in_chans"})
    assert "name: tiny_masks" in (weights.folder / "config.yaml").read_text()
    assert weights.facts.metric == "mean_iou"
    measured = {(each.split, each.weights, each.tta) for each in weights.facts.results}
    assert measured == {
        (split, kind, tta)
        for split in ("validation", "test")
        for kind in ("float32", "float16")
        for tta in ("none", "flip")
    }
    image = torch.randn(1, 3, 12, 10)
    by_name = skipweave.create_model(NAME, pretrained=True, num_classes=2).eval()
    with torch.inference_mode():
        assert torch.equal(by_name(image), network.eval()(image))


def test_exits_are_those_after_the_same_units(weights: shipped_weights.ShippedWeights) -> None:
    state = open_saved(weights.file).tensors()
    ours = skipweave.create_model(NAME, pretrained=True, num_classes=2, heads=[2]).state_dict()  # of 1 and 2
    assert torch.equal(ours["exits.0.conv.weight"], state["exits.1.conv.weight"].float())
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ours["exits.0.read.weight"], state["exits.0.read.weight"].float())


def test_masks_are_predicted_by_name(
    weights: shipped_weights.ShippedWeights, streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = streets / "images" / "picture3.png"
    assert main(["predict", str(picture), "--model", NAME, "--output", str(tmp_path)]) == 0
    network, description = load_weights(weights.file)
    image = torch.from_numpy(np.array(Image.open(picture))).permute(2, 0, 1)
    with torch.inference_mode():
        expected = network.eval()(description.preprocessing(image)[None]).argmax(1)[0]
    assert np.array_equal(np.array(Image.open(tmp_path / "picture3_labels.png")), expected.numpy())
    assert main(["models", "--pretrained", "masks"]) == 0
    listed = " ".join(capsys.readouterr().out.split())
    assert NAME in listed
    assert "mIoU" in listed


def test_fine_tuning_to_other_classes_keeps_all_but_the_heads(
    weights: shipped_weights.ShippedWeights, streets: Path, tmp_path: Path
) -> None:
    (tmp_path / "classes.csv").write_text("name\nsky\nroad\ncar\n")
    words = ["--model.name", NAME, "--model.pretrained", "true", "--optim.lr", "1e-9"]
    words += ["--data.root", str(streets), "--data.classes", str(tmp_path / "classes.csv")]
    assert main([*FIT, *words, "--output", str(tmp_path / "runs")]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    tuned, start = (open_saved(path).tensors() for path in (run / "model.safetensors", weights.file))
    assert tuned.keys() == start.keys()
    for name in (name for name in start if "running" not in name and "num_batches" not in name):
        if ".conv." in name and name.startswith(("exits.", "head.")):
            assert len(tuned[name]) == 3
        else:
            torch.testing.assert_close(tuned[name], start[name].float(), rtol=0, atol=1e-5)
