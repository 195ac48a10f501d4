"""Trained networks exported from the command line, and used again."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from PIL import Image

from skipweave.data import Preprocessing
from skipweave.training import Description, load_run, load_weights
from skipweave.training.checkpoint.weights_file import save_weights
from skipweave.training.model_building import build_network
from skipweave_cli import main
from tests.onnx_session import onnx_session

Capture = pytest.CaptureFixture[str]
NAMES = ("model.safetensors", "config.json", "README.md")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    words = "--model.args.units 1 --model.args.growth 2 --epochs 2 --batch_size 512 --data.validation 300"
    assert main(["fit", *words.split(), "--accelerator", "cpu", "--output", str(runs)]) == 0
    return runs / "sparsenet40_12_digits_1"


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "new" / "folder"
    assert main(["export", str(run), "--output", str(folder), "--formats", "[onnx, timm]"]) == 0
    return folder


def picture(path: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    return path


def save(path: Path, model: str, preprocessing: Preprocessing, **args: object) -> Path:
    """A weights file of a segmentation network."""
    full = {**args, "num_classes": 2, "in_chans": preprocessing.channels}
    palette = ((0, 0, 0), (1, 1, 1), (2, 2, 2))
    description = Description(model, full, "streets", ("road", "sky"), preprocessing, palette)
    save_weights(path, build_network(model, full).state_dict(), description)
    return path


def test_a_run_becomes_files_for_others(run: Path, exported: Path):
    assert {path.name for path in exported.iterdir()} == {"model.onnx", *NAMES}
    network, _, description = load_run(run)
    images = torch.randn(2, 1, 8, 8)
    with torch.inference_mode():
        logits = network(images)
    session = onnx_session(exported / "model.onnx")
    (made,) = session.run(["logits"], {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(made), logits, rtol=0, atol=1e-5)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == list(description.classes)
    assert json.loads(metadata["preprocessing"]) == json.loads(json.dumps(description.preprocessing.to_dict()))
    with torch.inference_mode():
        assert torch.equal(timm.create_model(f"local-dir:{exported}", pretrained=True).eval()(images), logits)


def test_what_was_compared_is_told(run: Path, tmp_path: Path, capsys: Capture):
    assert main(["export", str(run), "--output", str(tmp_path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("logits: as the network's to ")
    assert first.endswith(f"(onnxruntime {onnxruntime.__version__}, 2 random images)")
    assert second == f"saved {tmp_path / 'model.onnx'} ({(tmp_path / 'model.onnx').stat().st_size:,} bytes)"


def test_the_card_tells_the_errors_of_these_weights(run: Path, exported: Path, tmp_path: Path):
    summary = json.loads((run / "summary.json").read_text())
    card = (exported / "README.md").read_text()
    assert f"| top-1 error, validation images | {summary['val_metrics']['top1_error']:.2f} % |" in card
    assert f"| top-1 error, test images | {summary['test_metrics']['top1_error']:.2f} % |" in card
    assert f"| parameters | {summary['parameters']:,} |" in card
    words = ["--formats", "[timm]", "--output", str(tmp_path)]
    assert main(["export", str(run), "--which", "last", *words]) == 0
    assert "error, " not in (tmp_path / "README.md").read_text()


def test_the_file_of_weights_predicts_as_the_run(run: Path, exported: Path, tmp_path: Path, capsys: Capture):
    image = str(picture(tmp_path / "a.png"))
    assert main(["predict", image, "--run", str(run)]) == 0
    told = capsys.readouterr().out
    assert main(["predict", image, "--model", str(exported / "model.safetensors")]) == 0
    assert capsys.readouterr().out == told


def test_networks_from_the_hub_are_used_as_files(
    exported: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    asked = []

    def download(repository: str, file: str, revision: str | None) -> str:
        asked.append((repository, file, revision))
        return str(exported / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    image = str(picture(tmp_path / "a.png"))
    assert main(["predict", image, "--model", "hf-hub:someone/digits@v1"]) == 0
    assert main(["plot", "hf-hub:someone/digits"]) == 0
    assert "on digits" not in capsys.readouterr().err
    assert main(["export", "hf-hub:someone/digits", "--formats", "[timm]", "--output", str(tmp_path / "again")]) == 0
    assert asked == [
        ("someone/digits", "model.safetensors", "v1"),
        ("someone/digits", "model.safetensors", None),
        ("someone/digits", "model.safetensors", None),
    ]
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (exported / name).read_bytes()


def test_a_failed_download_is_one_line(capsys: Capture, monkeypatch: pytest.MonkeyPatch):
    def download(*_: object, **__: object) -> str:
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert main(["predict", "a.png", "--model", "hf-hub:someone/digits"]) == 2
    assert capsys.readouterr().err == (
        "skipweave: error: cannot download model.safetensors of someone/digits from the Hugging Face Hub: "
        "no route to the hub\n"
    )


@pytest.mark.parametrize("name", ["model.onnx", *NAMES])
def test_nothing_is_written_over(name: str, run: Path, tmp_path: Path, capsys: Capture):
    (tmp_path / name).write_text("mine")
    assert main(["export", str(run), "--output", str(tmp_path), "--formats", "[timm, onnx]"]) == 2
    assert f"{name} exists already: choose another --output" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_nothing_is_left_of_what_cannot_be_written(
    run: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert main(["export", str(run), "--output", str(tmp_path)]) == 2
    assert f"{tmp_path / 'model.onnx'}: No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_told(run: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    assert main(["export", str(run), "--output", str(tmp_path), "--formats", "[onnx, timm]"]) == 2
    assert capsys.readouterr().err == (
        "skipweave: error: ONNX needs onnxscript, not installed here: pip install 'skipweave[export]'\n"
    )
    assert list(tmp_path.iterdir()) == []
    assert main(["export", str(run), "--output", str(tmp_path), "--formats", "[timm]"]) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--formats", "pickle"], "formats[0] is 'pickle'"),
        (["--formats", "[]"], "formats is []"),
        (["--which", "first"], "which is 'first'"),
    ],
)
def test_wrong_options_are_told(words: list[str], told: str, run: Path, tmp_path: Path, capsys: Capture):
    assert main(["export", str(run), "--output", str(tmp_path), *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("place", ["nothing/here", "sparsenet40_12", "."])
def test_only_trained_networks_are_exported(
    place: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["export", place]) == 2
    assert "no such file" in (said := capsys.readouterr().err) or "not a run directory" in said or "config.yaml" in said
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_labels_pixels_is_exported_too(tmp_path: Path):
    weights = save(
        tmp_path / "weights",
        "fc_logdensenet103",
        Preprocessing(channels=1, resize=None, mean=(0.5,), std=(0.5,)),
        units=[1, 1, 1],
        growth=2,
    )
    folder = tmp_path / "out"
    assert main(["export", str(weights), "--output", str(folder), "--formats", "[timm, onnx]"]) == 0
    network, _ = load_weights(weights)
    images = torch.randn(1, 1, 33, 50)
    with torch.inference_mode():
        *exits, logits = network.forward_anytime(images)
    session = onnx_session(folder / "model.onnx")
    made = session.run(["logits", "exit_1", "exit_2"], {"images": images.numpy()})
    for output, head in zip(made, (logits, *exits), strict=True):
        torch.testing.assert_close(torch.from_numpy(output), head, rtol=0, atol=1e-4)
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.inference_mode():
        assert torch.equal(loaded(images), logits)


def test_a_thinned_network_is_exported_to_onnx_and_refused_for_timm(run: Path, tmp_path: Path, capsys: Capture):
    words = "--model.args.units 1 --model.args.growth 4 --model.args.sparsify 0.5 --epochs 1 --batch_size 512"
    assert main(["fit", *words.split(), "--accelerator", "cpu", "--output", str(tmp_path)]) == 0
    sparse = tmp_path / "sparsenet40_12_digits_1"
    folder = tmp_path / "out"
    capsys.readouterr()
    assert main(["export", str(sparse), "--output", str(folder), "--formats", "[onnx, timm]"]) == 2
    assert "sparsenet40_12 with sparsify" in capsys.readouterr().err
    assert list(folder.iterdir()) == []
    assert main(["export", str(sparse), "--output", str(folder)]) == 0
    assert (folder / "model.onnx").stat().st_size > 0


def test_a_run_that_is_not_finished_is_exported_without_errors(run: Path, tmp_path: Path):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "summary.json").unlink()
    assert main(["export", str(copy), "--formats", "[timm]", "--output", str(tmp_path / "out")]) == 0
    assert "error, " not in (tmp_path / "out" / "README.md").read_text()
