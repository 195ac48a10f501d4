"""Export with a description: outputs in every engine are those of the network."""

import importlib.util
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from skipweave.engines import OnnxModel, Session, export_model, load_onnx, load_openvino, model_files, onnx_conversion
from skipweave.export import in_engine, load_exported, to_onnx
from skipweave.layers import ConcatRead
from skipweave.ops.cpu.processor import has_bfloat16
from skipweave.training.auxiliary_heads import AllHeads
from tests.errors import raises
from tests.export.networks import CLASSES, LABEL_PIXELS, Trained, quick, trained

QUICK = ("sparsenet", "sparsenet, sparse", "deluge", "fc_logdensenet")


@cache
def made(name: str) -> tuple[Trained, OnnxModel]:
    network, description = trained(name)
    return (network, description), to_onnx(network, description)


@pytest.mark.parametrize("name", quick(*QUICK))
def test_engines_give_the_outputs_of_every_head(name: str):
    (network, _), model = made(name)
    sessions = load_onnx(model.content, threads=1), load_openvino(model.content, threads=1)
    sizes = [(1, 3, 32, 32), (3, 3, 32, 32)]
    if name in LABEL_PIXELS:
        sizes += [(1, 3, 40, 56), (2, 3, 35, 49)]
    for size in sizes:
        images = torch.randn(size)
        with torch.inference_mode():
            *exits, logits = AllHeads(network)(images)
        for session in sessions:
            outputs = session(images)
            assert model.outputs == ("logits", *(f"exit_{number}" for number in range(1, len(exits) + 1)))
            assert outputs[0].shape[:2] == (len(images), len(CLASSES))
            for output, head in zip(outputs, (logits, *exits), strict=True):
                torch.testing.assert_close(output, head, rtol=0, atol=3e-5 * float(logits.abs().max()))


@pytest.mark.skipif(has_bfloat16(), reason="the processor has bfloat16")
def test_openvino_in_bfloat16_needs_a_processor_that_has_it():
    _, model = made("sparsenet")
    with raises("precision", "bf16", "float32"):
        load_openvino(model.content, precision="bf16")


@pytest.mark.skipif(not has_bfloat16(), reason="the processor has no bfloat16")
@pytest.mark.parametrize("name", quick(*QUICK))
def test_openvino_in_bfloat16_is_close(name: str):
    (network, _), model = made(name)
    images = torch.randn(4, 3, 32, 32)
    (output, *_) = load_openvino(model.content, precision="bf16", threads=1)(images)
    with torch.inference_mode():
        logits = network(images)
    assert not torch.equal(output, logits)
    torch.testing.assert_close(output, logits, rtol=0, atol=5e-2 * float(logits.abs().max()))


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
    before = [sum(isinstance(part, kind) for part in network.modules()) for kind in (nn.BatchNorm2d, ConcatRead)]
    assert norms < sum(before) or not norms  # those of readers, and some of networks with sums


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
    monkeypatch.setattr(onnx_conversion, "_export", lambda *_: onnx.load_from_string(model.content))
    return given


@pytest.mark.parametrize(
    ("lost", "runtime"),
    [
        ((), f"onnxruntime {onnxruntime.__version__}"),
        (("onnxruntime",), "openvino"),
        (("onnxruntime", "openvino"), f"reference evaluator of onnx {onnx.__version__}"),
    ],
)
def test_any_engine_checks(lost: tuple[str, ...], runtime: str, made_before: Trained, monkeypatch: pytest.MonkeyPatch):
    ran = []
    real = Session.forward
    monkeypatch.setattr(Session, "forward", lambda self, images: ran.append(self.runtime) or real(self, images))
    leave_out(monkeypatch, *lost)
    to_onnx(*made_before)
    assert len(ran) == 2  # one image, and five
    assert all(name.startswith(runtime) for name in ran)


@pytest.mark.parametrize("off", [1.01, torch.nan])
def test_a_different_model_raises(off: float, made_before: Trained, monkeypatch: pytest.MonkeyPatch):
    real = Session.forward
    monkeypatch.setattr(Session, "forward", lambda self, images: [logits * off for logits in real(self, images)])
    with raises("onnxruntime", "0.001"):
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


@pytest.mark.parametrize("ending", [".onnx", ".ONNX", ".xml", ".XML"])
def test_exported_files_load_with_their_description(ending: str, tmp_path: Path):
    network, description = trained("sparsenet")
    description = replace(description, data="12")  # text that is also JSON
    for name, content in model_files(to_onnx(network, description), ("onnx", "openvino"))[0].items():
        path = tmp_path / name
        path.with_suffix(ending if path.suffix in ending.lower() else path.suffix).write_bytes(content)
    loaded, found = load_exported(tmp_path / f"model{ending}")
    assert found == description
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), network(images), rtol=0, atol=1e-4)
        torch.testing.assert_close(loaded(images), in_engine(network, description, "openvino")(images))


def test_files_that_engines_cannot_load_raise(tmp_path: Path):
    (tmp_path / "model.xml").touch()
    with raises("model.xml", "model.bin"):
        load_exported(tmp_path / "model.xml")
    (tmp_path / "model.bin").touch()
    for name in ("model.onnx", "model.xml"):
        (tmp_path / name).write_bytes(b"no model")
        with raises("cannot load"):
            load_exported(tmp_path / name)
    with raises("weights.txt", ".onnx", ".xml"):
        load_exported(tmp_path / "weights.txt")
    with raises("model.xml", "onnxruntime"):
        load_exported(tmp_path / "model.xml", "onnxruntime")
    with raises("bf16", "onnxruntime"):
        load_exported(tmp_path / "model.onnx", precision="bf16")


def test_models_without_a_description_raise(tmp_path: Path):
    export_model(nn.Conv2d(3, 2, 1).eval(), tmp_path, input_size=(3, 8, 8))
    with raises("damaged", "model.onnx"):
        load_exported(tmp_path / "model.onnx")


def test_classes_of_one_name_raise():
    _, description = trained("no batch norms")
    with raises("classes", "heron"):
        replace(description, classes=("heron", "stork", "heron", "ibis"))


def test_metadata_have_whether_images_have_several_labels(made_before: Trained):
    network, description = made_before
    model = to_onnx(network, replace(description, multi_label=True))
    metadata = {entry.key: entry.value for entry in onnx.load_from_string(model.content).metadata_props}
    assert metadata["multi_label"] == "true"
