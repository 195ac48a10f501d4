"""ONNX export: outputs in onnxruntime are those of the network."""

import importlib.util
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from skipweave.export import OnnxModel, onnx_export, to_onnx
from skipweave.training.auxiliary_heads import AllHeads
from tests.errors import raises
from tests.export.networks import CLASSES, LABEL_PIXELS, Trained, quick, trained
from tests.onnx_session import onnx_session

QUICK = ("sparsenet", "sparsenet, sparse", "deluge", "fc_logdensenet")


@cache
def made(name: str) -> tuple[Trained, OnnxModel]:
    network, description = trained(name)
    return (network, description), to_onnx(network, description)


def run(model: OnnxModel, images: torch.Tensor) -> dict[str, np.ndarray]:
    session = onnx_session(model.content)
    return dict(zip(model.outputs, session.run(list(model.outputs), {"images": images.numpy()}), strict=True))


@pytest.mark.parametrize("name", quick(*QUICK))
def test_onnxruntime_gives_the_outputs_of_every_head(name: str):
    (network, _), model = made(name)
    sizes = [(1, 3, 32, 32), (3, 3, 32, 32)]
    if name in LABEL_PIXELS:
        sizes += [(1, 3, 40, 56), (2, 3, 35, 49)]
    for size in sizes:
        images = torch.randn(size)
        with torch.inference_mode():
            *exits, logits = AllHeads(network)(images)
        outputs = run(model, images)
        assert list(outputs) == ["logits", *(f"exit_{number}" for number in range(1, len(exits) + 1))]
        assert outputs["logits"].shape[:2] == (len(images), len(CLASSES))
        for output, head in zip(outputs.values(), (logits, *exits), strict=True):
            torch.testing.assert_close(torch.from_numpy(output), head, rtol=0, atol=1e-5 * float(logits.abs().max()))


@pytest.mark.parametrize("name", quick(*QUICK))
def test_models_hold_usual_operators_and_nothing_of_this_machine(name: str):
    (network, description), model = made(name)
    graph = onnx.load_from_string(model.content)
    onnx.checker.check_model(graph, full_check=True)
    assert {(entry.domain, entry.version) for entry in graph.opset_import} <= {("", 20)}
    assert not graph.functions
    assert [one.name for one in graph.graph.input] == ["images"]
    assert [one.name for one in graph.graph.output] == list(model.outputs)
    (shape,) = ([d.dim_param or d.dim_value for d in one.type.tensor_type.shape.dim] for one in graph.graph.input)
    assert shape == ["batch", 3, *(("height", "width") if name in LABEL_PIXELS else (32, 32))]
    assert not any(text in model.content for text in (b"/src/", b".py", str(Path.home()).encode() + b"/"))
    assert {entry.key: entry.value for entry in graph.metadata_props} == {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in description.as_plain().items()
    }
    norms = sum(node.op_type == "BatchNormalization" for node in graph.graph.node)
    assert norms < sum(isinstance(part, nn.BatchNorm2d) for part in network.modules()) or not norms


def test_channel_sparse_convolutions_become_dense_ones_with_zeros():
    (network, _), model = made("sparsenet, sparse")
    graph = onnx.load_from_string(model.content).graph
    assert not {"ScatterElements", "Gather", "GatherElements"} & {node.op_type for node in graph.node}
    weights = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    convolutions = [weights[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    sparse = [part for part in network.modules() if hasattr(part, "to_dense")]
    nonzero = sorted(int(np.count_nonzero(weight)) for weight in convolutions if not weight.all())
    assert nonzero == sorted(layer.weight.numel() for layer in sparse)


def test_exporting_twice_gives_equal_bytes_and_changes_nothing():
    (network, description), model = made("sparsenet, sparse")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        logits = network(images)
    assert to_onnx(network, description).content == model.content
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    with torch.inference_mode():
        assert torch.equal(network(images), logits)


def leave_out(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in packages else find(name))


@pytest.mark.parametrize("packages", [("onnx",), ("onnxscript",), ("onnx", "onnxscript")])
def test_missing_packages_are_reported(packages: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    leave_out(monkeypatch, *packages)
    with raises(*packages, "skipweave[export]"):
        to_onnx(*trained("no batch norms"))


@pytest.fixture
def made_before(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """A network with a cached export."""
    given, model = made("no batch norms")
    monkeypatch.setattr(onnx_export, "_export", lambda *_: onnx.load_from_string(model.content))
    return given


def test_without_onnxruntime_the_reference_evaluator_of_onnx_checks(
    made_before: Trained, monkeypatch: pytest.MonkeyPatch
):
    assert to_onnx(*made_before).checked_by == f"onnxruntime {onnxruntime.__version__}"
    leave_out(monkeypatch, "onnxruntime")
    other = to_onnx(*made_before)
    assert other.checked_by == f"reference evaluator of onnx {onnx.__version__}"
    assert 0 < other.difference < 1e-5 * other.largest


@pytest.mark.parametrize("off", [1.01, torch.nan])
def test_a_different_model_raises(off: float, made_before: Trained, monkeypatch: pytest.MonkeyPatch):
    real = onnx_export._run

    def run_off(*args: Any) -> tuple[list[np.ndarray], str]:
        (logits,), by = real(*args)
        return [logits * off], by

    monkeypatch.setattr(onnx_export, "_run", run_off)
    with raises("ONNX", "0.001"):
        to_onnx(*made_before)


def test_unsupported_operators_raise_in_one_line():
    class Bessel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(self.conv(x)).sum((2, 3))

    _, description = trained("no batch norms")
    with raises("tutorial_cifar10") as caught:
        to_onnx(Bessel().eval(), description)
    assert "\x1b" not in str(caught.value)


def test_names_that_cannot_be_encoded_are_replaced(made_before: Trained):
    network, description = made_before
    model = to_onnx(network, replace(description, data="\ud800\x1b", classes=("\ud800", "b", "c", "d")))
    metadata = {entry.key: entry.value for entry in onnx.load_from_string(model.content).metadata_props}
    assert metadata["data"] == "??"
    assert json.loads(metadata["classes"]) == ["\ud800", "b", "c", "d"]


def test_metadata_have_whether_images_have_several_labels(made_before: Trained):
    network, description = made_before
    model = to_onnx(network, replace(description, multi_label=True))
    metadata = {entry.key: entry.value for entry in onnx.load_from_string(model.content).metadata_props}
    assert metadata["multi_label"] == "true"
