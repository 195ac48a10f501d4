"""Files of models for engines."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

import skipweave
from skipweave.engines import FILES, Session, engine_files, load_onnx, load_openvino, model_files, onnx_model
from skipweave.engines.onnx_conversion import compare
from tests.errors import assert_reports, raises


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
        (dict(weights="int8", calibration=7), ["int8", "calibration", "int"]),
        (dict(weights="int8", calibration=torch.zeros(2, 3, 8, 8)), [(3, 8, 8), (3, 32, 32)]),
        (dict(weights="int8", calibration=torch.zeros(3, 32, 32)), [(32, 32), (3, 32, 32)]),
        (dict(weights="int8", calibration=torch.zeros(2, 3, 32, 32, dtype=torch.uint8)), ["uint8", "preprocessed"]),
        (dict(weights="int8", calibration=[np.zeros((3, 32, 32), np.uint8)]), ["uint8", "preprocessed"]),
        (dict(weights="int8", calibration=[(torch.zeros(3, 32, 32), 1)]), ["calibration", "tuple"]),
        (dict(weights="int8", calibration=torch.full((1, 3, 32, 32), torch.nan)), ["calibration", "non-finite"]),
        (dict(batch=0), ["batch", 0]),
        (dict(batch=-1), ["batch", -1]),
        (dict(batch=1.5), ["batch", 1.5]),
        (dict(batch=True), ["batch", True]),
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


def test_calibration_takes_iterables_of_images_and_batches(tmp_path: Path):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 3)).eval()
    images = torch.randn(6, 3, 8, 8)
    given = dict(tensor=images, images=(image.numpy() for image in images), batches=iter(images.double().split(4)))
    for name, calibration in given.items():
        skipweave.export_model(network, tmp_path / name, input_size=(3, 8, 8), weights="int8", calibration=calibration)
        assert (tmp_path / name / "model.onnx").read_bytes() == (tmp_path / "tensor" / "model.onnx").read_bytes()


@pytest.mark.parametrize("batch", [None, 4])
def test_int8_is_compared_on_the_calibration_images(batch: int | None):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3)).eval()
    model = onnx_model(network, (3, 8, 8), batch=batch, dynamic_size=True)
    images = [*torch.randn(5, 3, 8, 8), *torch.randn(2, 3, 9, 12)]  # neither a multiple of the batch
    files, compared = model_files(model, ("onnx", "openvino"), "int8", images)
    sessions = {
        "onnx": load_onnx(files["model.onnx"], threads=1),
        "openvino": load_openvino((files["model.xml"], files["model.bin"]), threads=1),
    }
    for form, session in sessions.items():
        with torch.inference_mode():
            expected = [network(image[None]) for image in images]
        worst = max(float((session(i[None])[0] - own).abs().max()) for i, own in zip(images, expected, strict=True))
        found = compared[form]
        assert (found.images, found.kind) == (7, "calibration")
        assert found.difference == pytest.approx(worst, rel=1e-3, abs=1e-5)
        assert 0 < found.difference < 0.2 * found.largest
        assert_reports(str(found), found.runtime, "7 calibration images")


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


class Branching(nn.Module):
    """A convolution, and any function of its output and the images."""

    def __init__(self, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.function = function
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.conv(x), x)


def partly_training() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Sequential(nn.BatchNorm2d(2))).eval()
    network[1][0].train()
    return network


def modes(network: object) -> list[bool]:
    return [module.training for module in network.modules()] if isinstance(network, nn.Module) else []


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (nn.Conv2d(3, 2, 1), ["Conv2d", "eval()"]),
        (nn.Conv2d(3, 2, 1).eval().double(), ["Conv2d", "float64", "float32"]),
        (Named(3, 2, 1).eval(), ["Named", "dict", "tensor"]),
        (partly_training(), ["Sequential", "1.0", "eval()"]),
        (torch.relu, ["builtin_function_or_method", "torch.nn.Module"]),
        (Branching(lambda maps, x: maps * 2 if x.shape[0] == 1 else maps), ["onnxruntime", 0.001]),
        (Branching(lambda maps, x: maps * 2 if x.shape[0] > 5 else maps), ["Branching", "images.size()[0] <= 5"]),
        (Branching(lambda maps, x: maps * 2 if x.shape[0] == 4 else maps), ["Branching", "images.size()[0] != 4"]),
        (Branching(lambda maps, x: maps.mean((2, 3)).squeeze()), ["Branching", "(1, 3, 8, 8)", "(2,)"]),
        (Branching(lambda maps, x: maps.mean((0, 2, 3))), ["Branching", "(1, 3, 8, 8)", "(2,)"]),
        (nn.Sequential(nn.CircularPad2d(9), nn.Conv2d(3, 2, 1)).eval(), ["Sequential"]),
    ],
)
def test_networks_that_cannot_be_exported_are_rejected(given: nn.Module, values: list[str], tmp_path: Path):
    training = modes(given)
    with raises(*values):
        skipweave.export_model(given, tmp_path / "none", input_size=(3, 8, 8))
    assert modes(given) == training
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("layer", "values"),
    [
        (nn.AvgPool2d(3, 2, 1, ceil_mode=True), ["openvino", 0.001]),
        (Branching(lambda maps, x: maps * 2 if x.shape[2] > 100 else maps), ["Branching", "2 to 100"]),
        (Branching(lambda maps, x: maps * 2 if x.shape[2] > x.shape[3] else maps), ["onnxruntime", 0.001]),
        (Branching(lambda maps, x: maps * 2 if x.shape[2] % 2 == 0 else maps), ["onnxruntime", 0.001]),
    ],
)
def test_networks_that_differ_at_other_sizes_are_rejected(layer: nn.Module, values: list[str], tmp_path: Path):
    network = Branching(lambda maps, x: layer(x)).eval() if not isinstance(layer, Branching) else layer
    with raises(*values):
        skipweave.export_model(
            network, tmp_path, formats=("onnx", "openvino"), input_size=(3, 32, 48), dynamic_size=True
        )


def test_networks_that_change_their_input_are_exported(tmp_path: Path):
    network, images = Branching(lambda maps, x: x.mul_(2).relu_() + x.add_(1)).eval(), torch.randn(2, 3, 8, 8)
    skipweave.export_model(network, tmp_path, formats=("onnx", "openvino"), input_size=(3, 8, 8))
    expected = network(images.clone())
    for output in outputs(tmp_path, images):
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)


def test_conversions_that_openvino_rejects_raise(tmp_path: Path):
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.CircularPad2d(3)).eval()
    with raises("OpenVINO"):
        skipweave.export_model(network, tmp_path / "none", formats=("openvino",), input_size=(3, 16, 16))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("place", "values"),
    [("a_file", ["a_file", "directory"]), ("a_file/new", ["a_file", "directory"]), (".", ["model.onnx", "directory"])],
)
def test_folders_that_cannot_be_written_are_reported_first(
    place: str, values: list[str], network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "a_file").touch()
    (tmp_path / "model.onnx").mkdir()
    monkeypatch.setattr(engine_files, "onnx_model", lambda *_, **__: pytest.fail("converted before the check"))
    with raises(*values):
        skipweave.export_model(network, tmp_path / place)


def test_one_head_does_not_hide_the_difference_of_another():
    images = torch.zeros(2, 3, 8, 8)
    session = Session(lambda _: [np.full((2, 1), 1.5), np.full((2, 1), 1e5)], "an engine", {}, (None, 3, 8, 8))
    found = compare(session, [(images, (torch.ones(2, 1), torch.full((2, 1), 1e5)))])
    assert (found.difference, found.largest, found.images) == (0.5, 1, 2)
    with raises("an engine", "(2, 1)", "(2,)"):
        compare(session, [(images, (torch.ones(2), torch.ones(2, 1)))])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_non_finite_outputs_differ(value: float):
    images = torch.zeros(2, 3, 8, 8)
    session = Session(lambda _: [np.full((2, 1), value)], "an engine", {}, (None, 3, 8, 8))
    for own in (torch.full((2, 1), value), torch.ones(2, 1)):
        with raises("an engine"):
            compare(session, [(images, (torch.ones(2, 1),)), (images, (own,))]).require(1e-3)
