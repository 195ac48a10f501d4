"""Files of models for engines."""

import importlib.util
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import skipweave
from skipweave.engines import FILES, load_onnx, load_openvino
from tests.errors import raises


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return skipweave.create_model("sparsenet40_24", units=2, growth=16).eval()


def outputs(folder: Path, images: torch.Tensor) -> list[torch.Tensor]:
    sessions = (
        load_onnx((folder / "model.onnx").read_bytes(), threads=1),
        load_openvino(folder / "model.xml", threads=1),
    )
    return [session(images)[0] for session in sessions]


def test_files_of_both_formats_compute_the_network(network: nn.Module, tmp_path: Path):
    paths = skipweave.export_model(network, tmp_path / "new", formats=("onnx", "openvino"))
    assert [path.name for path in paths] == [*FILES["onnx"], *FILES["openvino"]]
    assert sorted(tmp_path.joinpath("new").iterdir()) == sorted(paths)
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        for output in outputs(tmp_path / "new", images):
            torch.testing.assert_close(output, network(images), rtol=0, atol=1e-5)


def test_float16_halves_the_files_and_rounds_the_weights(network: nn.Module, tmp_path: Path):
    for weights in ("float32", "float16"):
        skipweave.export_model(network, tmp_path / weights, formats=("onnx", "openvino"), weights=weights)
    for name in ("model.onnx", "model.bin"):
        sizes = [(tmp_path / weights / name).stat().st_size for weights in ("float16", "float32")]
        assert 0.5 * sizes[1] <= sizes[0] < 0.55 * sizes[1]
    rounded = skipweave.create_model("sparsenet40_24", units=2, growth=16).eval()
    rounded.load_state_dict({name: tensor.half().float() for name, tensor in network.state_dict().items()})
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        exact, expected = network(images), rounded(images)
        for output in outputs(tmp_path / "float16", images):
            assert not torch.equal(output, exact)
            torch.testing.assert_close(output, expected, rtol=0, atol=2e-3 * float(exact.abs().max()))


def test_int8_quarters_the_weights_and_keeps_predictions(network: nn.Module, tmp_path: Path):
    images = torch.randn(32, 3, 32, 32)
    skipweave.export_model(network, tmp_path, formats=("onnx", "openvino"), weights="int8", calibration=images)
    parameters = sum(tensor.numel() for tensor in network.parameters())
    assert (tmp_path / "model.bin").stat().st_size < 1.5 * parameters
    with torch.inference_mode():
        expected = network(images)
    for output in outputs(tmp_path, images):
        assert (output.argmax(1) == expected.argmax(1)).float().mean() > 0.8
        torch.testing.assert_close(output, expected, rtol=0, atol=0.1 * float(expected.abs().max()))


def test_networks_of_timm_are_exported(tmp_path: Path):
    network = timm.create_model("test_resnet", num_classes=3).eval()
    skipweave.export_model(network, tmp_path, formats=("onnx", "openvino"), input_size=(3, 64, 64))
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        for output in outputs(tmp_path, images):
            torch.testing.assert_close(output, network(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (dict(formats=("onnx", "coreml")), ["'coreml'", "openvino"]),
        (dict(weights="int4"), ["'int4'", "int8"]),
        (dict(weights="int8"), ["int8", "calibration"]),
        (dict(weights="int8", calibration=[]), ["int8", "calibration"]),
        (dict(weights="int8", calibration=torch.zeros(2, 3, 8, 8)), ["ONNX Runtime"]),
        (dict(calibration=torch.zeros(1, 3, 32, 32)), ["float32", "calibration"]),
        (dict(formats="onnx"), ["'onnx'"]),
        (dict(formats=()), ["formats"]),
        (dict(input_size=(3, 32)), ["(3, 32)", "input_size"]),
    ],
)
def test_wrong_arguments_raise(network: nn.Module, arguments: dict, values: list[str], tmp_path: Path):
    with raises(*values):
        skipweave.export_model(network, tmp_path / "none", **arguments)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("lost", "arguments", "extra"),
    [
        (("openvino",), dict(formats=("onnx", "openvino")), "openvino"),
        (("nncf",), dict(formats=("openvino",), weights="int8", calibration=torch.zeros(1, 3, 32, 32)), "openvino"),
        (("onnxruntime",), dict(weights="int8", calibration=torch.zeros(1, 3, 32, 32)), "export"),
        (("onnx", "onnxscript"), {}, "export"),
    ],
)
def test_missing_packages_are_reported_first(
    lost: tuple[str, ...],
    arguments: dict,
    extra: str,
    network: nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in lost else find(name))
    with raises(*lost, f"skipweave[{extra}]"):
        skipweave.export_model(network, tmp_path / "none", **arguments)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_weights_beyond_float16_are_rejected(form: str, tmp_path: Path):
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 3)).eval()
    with torch.no_grad():
        network[0].weight[0, 0, 0, 0] = 1e6
    with raises("65504", "float32"):
        skipweave.export_model(network, tmp_path, formats=(form,), input_size=(3, 8, 8), weights="float16")


class Lenet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.linear = nn.Linear(4 * 9, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(nn.functional.max_pool2d(self.conv(x), 2).view(-1, 36))


def test_networks_that_view_maps_as_vectors_are_exported(tmp_path: Path):
    network, images = Lenet().eval(), torch.randn(2, 3, 8, 8)
    skipweave.export_model(network, tmp_path, formats=("onnx", "openvino"), input_size=(3, 8, 8))
    with torch.inference_mode():
        for output in outputs(tmp_path, images):
            torch.testing.assert_close(output, network(images), rtol=0, atol=1e-5)


class Named(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
        return {"out": super().forward(x)}


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (nn.Conv2d(3, 2, 1), ["Conv2d", "eval()"]),
        (nn.Conv2d(3, 2, 1).eval().double(), ["Conv2d", "float64", "float32"]),
        (Named(3, 2, 1).eval(), ["Named", "dict", "tensor"]),
    ],
)
def test_networks_that_cannot_be_exported_are_rejected(given: nn.Module, values: list[str], tmp_path: Path):
    training = given.training
    with raises(*values):
        skipweave.export_model(given, tmp_path, input_size=(3, 8, 8))
    assert given.training == training
