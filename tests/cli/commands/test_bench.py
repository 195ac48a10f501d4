import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from skipweave.ops.cpu.processor import has_bfloat16
from skipweave_cli import main

QUICK = ["--input_size", "[3, 16, 16]", "--batches", "[1, 2]", "--repeats", "1"]


def test_networks_are_timed_with_baselines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["densenet40_12", "sparsenet40_24", "--vs", "[timm:test_resnet]", "--memory_formats", "[contiguous]"]
    assert main(["bench", *words, *QUICK, "--save", str(tmp_path / "new" / "speeds.csv")]) == 0
    out = capsys.readouterr().out
    assert "inference, batch 1, float32\n" in out
    assert "step, batch 2, float32\n" in out
    assert "step, batch 1" not in out
    with (tmp_path / "new" / "speeds.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * 3
    for line in lines:
        first = lines[lines.index(line) // 3 * 3]
        assert first["model"] == "timm:test_resnet"
        assert float(line["ratio"]) == pytest.approx(float(line["ms"]) / float(first["ms"]), abs=0.01, rel=0.01)
        assert 0 < float(line["low_ms"]) <= float(line["ms"]) <= float(line["high_ms"])
        assert float(line["images_per_second"]) == pytest.approx(
            1000 * int(line["batch"]) / float(line["ms"]), rel=0.01
        )
        assert float(line["macs_ms"]) > 0
        assert float(line["bytes_ms"]) > 0
    assert {line["error"] for line in lines if line["model"] == "sparsenet40_24"} == {"5.13"}
    assert "sparsenet40_24" in (tmp_path / "new" / "speeds.svg").read_text(encoding="utf-8")


def test_bfloat16_and_compiled(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import nn

    compiled = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda part: compiled(part, backend="eager"))
    words = ["tutorial_mnist", "--input_size", "[1, 28, 28]", "--batches", "[2]", "--repeats", "1"]
    options = ["--precisions", "[bf16]", "--memory_formats", "[channels_last]", "--compiled", "[true]"]
    assert main(["bench", *words, *options]) == 0
    out = capsys.readouterr().out
    for mode in ("inference", "step"):
        assert f"{mode}, batch 2, bf16\n" in out
    assert out.count("torch, channels_last, compiled") == 2


def test_engines_are_timed_in_one_table(tmp_path: Path) -> None:
    words = ["tutorial_mnist", "--input_size", "[1, 28, 28]", "--batches", "[2]", "--repeats", "1"]
    precisions = ["float32", "bf16"] if has_bfloat16() else ["float32"]  # OpenVINO has those of the processor
    options = ["--engines", "[torch, onnxruntime, openvino]", "--precisions", ",".join(precisions)]
    assert main(["bench", *words, *options, "--modes", "[inference]", "--save", str(tmp_path / "a.csv")]) == 0
    with (tmp_path / "a.csv").open(encoding="utf-8") as file:
        lines = [(line["precision"], line["engine"], line["memory_format"]) for line in csv.DictReader(file)]
    torch_and_openvino = [("torch", "contiguous"), ("torch", "channels_last"), ("openvino", "")]
    assert sorted(lines) == sorted(
        [
            ("float32", "onnxruntime", ""),
            *((precision, *execution) for precision in precisions for execution in torch_and_openvino),
        ]
    )


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["densenet41"], ["'densenet41'"]),
        (["densenet40_12", "--vs", "[keras:resnet]"], ["'keras'", "keras:resnet"]),
        (["densenet40_12", "--vs", "[timm:no_such_net]"], ["timm:no_such_net"]),
        (["densenet40_12", "--batches", "[1]", "--modes", "[step]"], ["batches", [1]]),
        (
            ["densenet40_12", "--engines", "[onnxruntime]", "--precisions", "bf16", "--modes", "inference"],
            ["onnxruntime", "float32"],
        ),
        (["densenet40_12", "--engines", "tflite"], ["engines", "'tflite'", "openvino"]),
        (["densenet40_12", "--engines", "openvino", "--modes", "step"], ["openvino", "torch"]),
        (["torchvision:resnet18"], ["torchvision:resnet18", "input size"]),
        (["densenet40_12", "--save", "speeds.txt"], ["speeds.txt"]),
        (["densenet40_12", "--repeats", "0"], ["repeats", 0]),
        (["densenet40_12", "--batches", "2,0"], ["batches[1]", 0]),
        (["densenet40_12", "--device", "tpu"], ["device", "'tpu'"]),
        (["densenet40_12", "--device", "cuda:99"], ["device", "'cuda:99'"]),
        (["densenet121_32", "--input_size", "3,16,16"], ["densenet121_32", "16x16"]),
    ],
)
def test_invalid_values_are_rejected(words: list[str], named: list[object], rejects: Callable[..., None]) -> None:
    rejects(["bench", *words], *named)


@pytest.mark.parametrize(
    ("model", "mode", "reason"),
    [("tutorial_cifar10", "inference", "published error"), ("densenet40_12", "step", "inference")],
)
def test_the_reason_for_a_missing_plot_is_printed(tmp_path: Path, capsys, model: str, mode: str, reason: str) -> None:
    words = ["--input_size", "3,32,32", "--batches", "2", "--repeats", "1", "--memory_formats", "contiguous"]
    assert main(["bench", model, *words, "--modes", mode, "--save", str(tmp_path / "a.csv")]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    out = capsys.readouterr().out
    (line,) = (line for line in out.splitlines() if str(tmp_path / "a.svg") in line)
    assert reason in line


def test_a_file_is_not_overwritten(tmp_path: Path, rejects: Callable[..., None]) -> None:
    (tmp_path / "speeds.svg").touch()
    rejects(["bench", "densenet40_12", "--save", tmp_path / "speeds.csv"], tmp_path / "speeds.svg")
