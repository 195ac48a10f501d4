"""Trained networks exported from the command line, and used again."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from PIL import Image

from skipweave.data import Preprocessing
from skipweave.files import atomic_write
from skipweave.models import SparseNet
from skipweave.ops.cpu.processor import has_bfloat16
from skipweave.training import Description, load_run, load_weights
from skipweave.training.checkpoint.weights_file import save_weights
from skipweave.training.model_building import build_network
from skipweave_cli import main
from tests.errors import assert_reports
from tests.onnx_session import onnx_session

Capture = pytest.CaptureFixture[str]
Rejects = Callable[..., None]
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


def test_a_run_is_exported(run: Path, exported: Path):
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


def test_the_comparison_is_printed(run: Path, tmp_path: Path, capsys: Capture):
    assert main(["export", str(run), "--output", str(tmp_path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert_reports(first, "onnx", "logits", f"onnxruntime {onnxruntime.__version__}")
    assert_reports(second, tmp_path / "model.onnx", f"{(tmp_path / 'model.onnx').stat().st_size:,} bytes")


def test_engines_predict_as_the_run(run: Path, tmp_path: Path, capsys: Capture):
    image = str(picture(tmp_path / "a.png"))
    assert main(["export", str(run), "--output", str(tmp_path), "--formats", "[onnx, openvino]"]) == 0
    capsys.readouterr()
    assert main(["predict", image, "--run", str(run)]) == 0
    printed = capsys.readouterr().out
    for words in (
        ["--run", str(run), "--engine", "openvino"],
        ["--run", str(run), "--engine", "onnxruntime"],
        ["--model", str(tmp_path / "model.onnx")],
        ["--model", str(tmp_path / "model.onnx"), "--engine", "openvino"],
        ["--model", str(tmp_path / "model.xml")],
    ):
        assert main(["predict", image, *words]) == 0
        assert capsys.readouterr().out == printed
    status = 0 if has_bfloat16() else 2  # OpenVINO computes in bfloat16 where the processor has it
    assert main(["predict", image, "--model", str(tmp_path / "model.xml"), "--precision", "bf16"]) == status


@pytest.mark.parametrize("weights", ["float16", "int8"])
def test_metrics_are_printed_before_and_after_compression(weights: str, run: Path, tmp_path: Path, capsys: Capture):
    words = ["--formats", "[onnx, openvino]", "--weights", weights, "--output", str(tmp_path)]
    assert main(["export", str(run), *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    if weights == "float16":
        assert_reports(lines[0], "onnx", "logits", "onnxruntime")
        assert_reports(lines[1], "openvino", "logits", f"openvino {version('openvino').split('-')[0]}")
    printed = [line for line in lines if line.startswith("validation")]
    summary = json.loads((run / "summary.json").read_text())
    assert_reports(printed[0], "float32", f"{summary['val_metrics']['top1_error']:.2f}")
    assert_reports(printed[1], f"{weights}, onnxruntime", "top-1 error")
    assert_reports(printed[2], f"{weights}, openvino", "top-1 error")
    image = str(picture(tmp_path / "a.png"))
    for name in ("model.onnx", "model.xml"):
        assert main(["predict", image, "--model", str(tmp_path / name)]) == 0


def test_a_large_loss_by_compression_is_a_warning(
    run: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    words = ["export", str(run), "--formats", "onnx", "--weights", "float16", "--output"]
    assert main([*words, str(tmp_path / "a")]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("skipweave_cli.commands.export._LARGE_LOSS", -1.0)
    assert main([*words, str(tmp_path / "b")]) == 0
    assert_reports(capsys.readouterr().err, "warning", "float16, onnxruntime", "0.00 points", "skipweave test")


@pytest.mark.parametrize("command", ["test", "validate"])
def test_an_exported_model_is_evaluated(
    command: str, run: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, rejects: Rejects
):
    assert main(["export", str(run), "--formats", "onnx,openvino", "--output", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main([command, str(run)]) == 0
    expected = capsys.readouterr().out
    monkeypatch.setattr(SparseNet, "forward", lambda *_: pytest.fail("the run's own network was evaluated"))
    for name in ("model.onnx", "model.xml"):
        assert main([command, str(run), "--model", str(tmp_path / name)]) == 0
        assert capsys.readouterr().out == expected
    rejects([command, run, "--model", run / "weights.safetensors"], "weights.safetensors", ".onnx")
    rejects([command, run, "--model", tmp_path / name, "--accelerator", "cuda"], "cuda", name)


def test_an_exported_model_of_other_classes_is_not_evaluated(run: Path, tmp_path: Path, rejects: Rejects):
    network, _, description = load_run(run)
    path, other = tmp_path / "other.safetensors", replace(description, classes=tuple("abcdefghij"))
    save_weights(path, network.state_dict(), other)
    assert main(["export", str(path), "--formats", "onnx", "--output", str(tmp_path)]) == 0
    rejects(["test", run, "--model", tmp_path / "model.onnx"], "model.onnx", "'a', 'b', 'c'", run)


@pytest.mark.parametrize(("weights", "batch"), [("float16", 3), ("int8", 7)])
def test_a_fixed_batch_is_evaluated_and_predicts(weights: str, batch: int, run: Path, tmp_path: Path, capsys: Capture):
    words = ["--formats", "[onnx, openvino]", "--weights", weights, "--batch", str(batch), "--output", str(tmp_path)]
    assert main(["export", str(run), *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    kind = "16 calibration images" if weights == "int8" else "3 random images"
    assert_reports(lines[0], "onnx", "logits", "onnxruntime", kind)
    assert_reports(lines[1], "openvino", "logits", kind)
    errors = [float(line.split("top-1 error ")[1].split()[0]) for line in lines if line.startswith("validation")]
    assert len(errors) == 3
    assert max(errors) - min(errors) < 5
    images = [str(picture(tmp_path / f"{number}.png")) for number in range(5)]
    for name in ("model.onnx", "model.xml"):
        for size in ("1", "2", "64"):
            assert main(["predict", *images, "--model", str(tmp_path / name), "--batch_size", size]) == 0


def test_an_export_without_onnxruntime_is_verified(
    run: Path, tmp_path: Path, capsys: Capture, rejects: Rejects, monkeypatch: pytest.MonkeyPatch
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("onnxruntime", "openvino") else find(name)
    )
    assert main(["export", str(run), "--output", str(tmp_path / "a")]) == 0
    assert_reports(
        capsys.readouterr().out.splitlines()[0], "onnx", "logits", f"onnx {version('onnx')}", "6 random images"
    )
    monkeypatch.setattr("skipweave_cli.commands.export._loaded", lambda *_: pytest.fail("loaded before the check"))
    rejects(["export", run, "--output", tmp_path / "b", "--weights", "float16"], "onnxruntime", "skipweave[export]")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("killed_at", [2, 5])
def test_an_export_that_was_killed_is_repeated(
    killed_at: int, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A kill while one of the six files is written."""
    files, real = (), atomic_write.sync

    def kill(path: Path) -> None:
        nonlocal files
        files += (path,)
        if len(files) == killed_at:
            for file in tmp_path.iterdir():  # as they are, and as a kill leaves them
                shutil.copy(file, left)
            raise KeyboardInterrupt
        real(path)

    left = tmp_path.with_name(f"{tmp_path.name}_left")
    left.mkdir()
    words = ["export", str(run), "--formats", "[timm, onnx, openvino]", "--output"]
    with monkeypatch.context() as patch:
        patch.setattr(atomic_write, "sync", kill)
        with suppress(KeyboardInterrupt):
            main([*words, str(tmp_path)])
    assert list(tmp_path.iterdir()) == []
    assert list(left.iterdir())
    assert main([*words[:2], "--formats", "[onnx]", "--output", str(left)]) == 0
    assert [file.name for file in left.iterdir()] == ["model.onnx"]


def test_an_existing_output_is_reported_before_loading(
    exported: Path, tmp_path: Path, rejects: Rejects, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "there.csv"
    file.write_text("mine")
    rejects(["export", tmp_path / "nothing", "--output", file], file, "--output")
    rejects(["export", tmp_path / "nothing", "--output", file / "new"], file, "--output")
    image = picture(tmp_path / "a.png")
    rejects(["predict", image, "--model", tmp_path / "nothing", "--output", file], file, "exists", "--output")
    assert file.read_text() == "mine"


@pytest.mark.parametrize("words", [["--model", "model.onnx"], ["--run", "run", "--engine", "openvino"]])
def test_engines_other_than_torch_have_no_accelerator(words: list[str], rejects: Rejects):
    rejects(["predict", "a.png", *words, "--accelerator", "cuda"], "accelerator", "cuda", "torch")


def test_weights_that_cannot_be_exported_are_rejected(exported: Path, rejects: Rejects, tmp_path: Path):
    model = str(exported / "model.safetensors")
    rejects(["export", model, "--weights", "int8", "--output", str(tmp_path)], "int8", model)
    rejects(["export", model, "--weights", "float16", "--formats", "[timm]"], "float16", "timm")
    image = str(picture(tmp_path / "a.png"))
    rejects(["predict", image, "--model", model, "--engine", "onnxruntime", "--precision", "bf16"], "bf16")


def test_the_model_card_has_the_errors_of_these_weights(run: Path, exported: Path, tmp_path: Path):
    summary = json.loads((run / "summary.json").read_text())
    card = (exported / "README.md").read_text()
    assert f"| top-1 error, validation images | {summary['val_metrics']['top1_error']:.2f} % |" in card
    assert f"| top-1 error, test images | {summary['test_metrics']['top1_error']:.2f} % |" in card
    assert f"| parameters | {summary['parameters']:,} |" in card
    words = ["--formats", "[timm]", "--output", str(tmp_path)]
    assert main(["export", str(run), "--which", "last", *words]) == 0
    assert "error, " not in (tmp_path / "README.md").read_text()


def test_the_weights_file_predicts_as_the_run(run: Path, exported: Path, tmp_path: Path, capsys: Capture):
    image = str(picture(tmp_path / "a.png"))
    assert main(["predict", image, "--run", str(run)]) == 0
    printed = capsys.readouterr().out
    assert main(["predict", image, "--model", str(exported / "model.safetensors")]) == 0
    assert capsys.readouterr().out == printed


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


def test_a_failed_download_is_one_line(rejects: Rejects, monkeypatch: pytest.MonkeyPatch):
    def download(*_: object, **__: object) -> str:
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    words = ["predict", "a.png", "--model", "hf-hub:someone/digits"]
    rejects(words, "model.safetensors", "someone/digits", "no route to the hub")


@pytest.mark.parametrize("name", ["model.onnx", *NAMES])
def test_files_are_not_overwritten(name: str, run: Path, tmp_path: Path, rejects: Rejects):
    (tmp_path / name).write_text("mine")
    rejects(["export", run, "--output", tmp_path, "--formats", "[timm, onnx]"], name, "--output")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_failed_write_leaves_no_files(run: Path, tmp_path: Path, rejects: Rejects, monkeypatch: pytest.MonkeyPatch):
    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    rejects(["export", run, "--output", tmp_path], tmp_path / "model.onnx", "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_reported(run: Path, tmp_path: Path, rejects: Rejects, monkeypatch: pytest.MonkeyPatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    words = ["export", run, "--output", tmp_path, "--formats", "[onnx, timm]"]
    rejects(words, "onnxscript", "pip install 'skipweave[export]'")
    assert list(tmp_path.iterdir()) == []
    assert main(["export", str(run), "--output", str(tmp_path), "--formats", "[timm]"]) == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--formats", "pickle"], ["formats[0]", "'pickle'"]),
        (["--formats", "[]"], ["formats", []]),
        (["--which", "first"], ["which", "'first'"]),
    ],
)
def test_invalid_options_are_rejected(
    words: list[str], named: list[object], run: Path, tmp_path: Path, rejects: Rejects
):
    rejects(["export", run, "--output", tmp_path, *words], *named)


@pytest.mark.parametrize("place", ["nothing/here", "sparsenet40_12", "."])
def test_only_trained_networks_are_exported(
    place: str, tmp_path: Path, rejects: Rejects, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    rejects(["export", place], place)
    assert list(tmp_path.iterdir()) == []


def test_a_segmentation_network_is_exported(tmp_path: Path):
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


def test_a_sparse_network_is_exported_to_onnx_only(run: Path, tmp_path: Path, rejects: Rejects):
    words = "--model.args.units 1 --model.args.growth 4 --model.args.sparsify 0.5 --epochs 1 --batch_size 512"
    assert main(["fit", *words.split(), "--accelerator", "cpu", "--output", str(tmp_path)]) == 0
    sparse = tmp_path / "sparsenet40_12_digits_1"
    folder = tmp_path / "out"
    rejects(["export", sparse, "--output", folder, "--formats", "[onnx, timm]"], "sparsenet40_12", "sparsify")
    assert list(folder.iterdir()) == []
    assert main(["export", str(sparse), "--output", str(folder)]) == 0
    assert (folder / "model.onnx").stat().st_size > 0


def test_the_card_of_an_unfinished_run_has_no_errors(run: Path, tmp_path: Path):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "summary.json").unlink()
    assert main(["export", str(copy), "--formats", "[timm]", "--output", str(tmp_path / "out")]) == 0
    assert "error, " not in (tmp_path / "out" / "README.md").read_text()


def test_a_checkpoint_is_chosen_of_runs_only(run: Path, exported: Path, tmp_path: Path, rejects: Rejects):
    weights, model = run / "model.safetensors", exported / "model.onnx"
    rejects(["export", weights, "--formats", "timm", "--which", "last", "--output", tmp_path / "new"], "last", weights)
    rejects(["plot", weights, "--which", "raw"], "raw", weights)
    rejects(["test", run, "--model", model, "--which", "last"], "last", model)
