"""Conversion of a network to ONNX, verified against the network."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from skipweave.engines.engine_layers import engine_form
from skipweave.engines.sessions import (
    INPUT,
    Session,
    installed,
    load_onnx,
    load_openvino,
    missing,
    reason,
    reference_evaluator,
)
from skipweave.models.heads import all_heads, count_heads
from skipweave.tracing.example_inputs import InputSize
from skipweave_config.errors import SkipweaveError
from skipweave_config.printable import printable

_DYNAMIC = {0: "batch", 2: "height", 3: "width"}


@dataclass(frozen=True)
class Comparison:
    """Comparison of the outputs of a model with the network's.

    Attributes:
        runtime: Engine that ran the model.
        images: Number of random images.
        difference: Largest absolute difference of an output from the network's.
        largest: Largest absolute output of the network.
    """

    runtime: str
    images: int
    difference: float
    largest: float

    def __str__(self) -> str:
        """Describe it in a line."""
        return (
            f"as the network's to {self.difference:.1e}, the largest being {self.largest:.3g} ({self.runtime}, "
            f"{self.images} random images)"
        )

    def require(self, tolerance: float) -> None:
        """Check that the difference is at most a part of the largest output.

        Raises:
            SkipweaveError: It is larger, or not finite.
        """
        if not self.difference <= tolerance * self.largest:
            raise SkipweaveError(
                f"the model differs from the network by {self.difference:.2g}, with outputs up to {self.largest:.2g} "
                f"({self.runtime}): expected at most {tolerance:g} of that"
            )


@dataclass(frozen=True)
class OnnxModel:
    """ONNX model, with random images and the network's outputs for them.

    Attributes:
        content: Content of the ONNX file.
        outputs: Names of the outputs: `logits`, and for a network with exits `exit_1`, `exit_2`, ...
        images: Random images.
        expected: The network's outputs for these images.
    """

    content: bytes
    outputs: tuple[str, ...]
    images: Tensor
    expected: tuple[Tensor, ...]

    def compare(self, session: Session) -> Comparison:
        """Compare the outputs of a form of the model with the network's."""
        pairs = list(zip(session(self.images), self.expected, strict=True))
        difference = max(float((one - other).abs().max()) for one, other in pairs)
        largest = max(float(other.abs().max()) for _, other in pairs)
        return Comparison(session.runtime, len(self.images), difference, largest)


def onnx_model(
    network: nn.Module,
    input_size: InputSize,
    *,
    name: str = "the network",
    batch: int | None = None,
    dynamic_size: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> OnnxModel:
    """Convert a network to ONNX, run the model, and compare its outputs.

    The network is exported in `engine_form`. The input `images` is (N, C, H, W) float32. The outputs are `logits`, then
    those of the exits. The model runs in ONNX Runtime, OpenVINO, or if neither is installed in onnx's slow evaluator.

    Args:
        network: Network in evaluation mode, in float32 on the CPU.
        input_size: Channels, height and width of an image.
        name: Name of the network in errors.
        batch: N; None is dynamic.
        dynamic_size: Whether H and W are dynamic too.
        metadata: Values of the model's metadata; all but strings are stored as JSON.

    Raises:
        SkipweaveError: A package is missing, the network cannot be exported, or the model's outputs differ from the
            network's by more than a thousandth of the largest.
    """
    _check(network, name)
    outputs = ("logits", *(f"exit_{number}" for number in range(1, count_heads(network))))
    dynamic = (0,) * (batch is None) + (2, 3) * dynamic_size
    example = torch.zeros(batch or 2, *input_size)
    images = _random_images(example, dynamic)
    try:
        with torch.inference_mode(False), torch.no_grad():  # torch.export cannot run in inference mode
            expected = _checked(all_heads(network, images))
            model = _export(network, example, outputs, dynamic)
        _describe(model, metadata or {})
        content = model.SerializeToString(deterministic=True)
        made = OnnxModel(content, outputs, images, (expected[-1], *expected[:-1]))
        made.compare(_any_engine(content)).require(1e-3)
    except SkipweaveError:
        raise
    except Exception as error:  # torch, onnxscript and the runtime raise various exceptions
        raise SkipweaveError(f"{name} cannot be exported to ONNX: {reason(error)}") from error
    return made


def _check(network: nn.Module, name: str) -> None:
    problems = missing(("onnx", "onnxscript"))
    if network.training:
        problems.append(f"{name} is in training mode: call eval() first")
    kinds = {(parameter.dtype, parameter.device.type) for parameter in network.parameters()}
    if other := kinds - {(torch.float32, "cpu")}:
        found = ", ".join(f"{dtype} on {device}" for dtype, device in sorted(other, key=str))
        problems.append(f"parameters of {name} are {found}: expected torch.float32 on cpu")
    if problems:
        raise SkipweaveError(*problems)


def _checked(heads: tuple[Any, ...]) -> tuple[Tensor, ...]:
    if wrong := [head for head in heads if not isinstance(head, Tensor)]:
        raise TypeError(f"it returns a {type(wrong[0]).__name__}: expected a tensor")
    return heads


class _LogitsFirst(nn.Module):
    """All heads of a network, the last head before the exits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of the last head, then those of the exits."""
        *exits, logits = all_heads(self.network, images)
        return (logits, *exits)


def _random_images(example: Tensor, dynamic: tuple[int, ...]) -> Tensor:
    """Images to compare outputs on, of other sizes than the example's where the model accepts any."""
    size = [length + (3 if dim in dynamic else 0) for dim, length in enumerate(example.shape)]
    return torch.randn(size, generator=torch.Generator().manual_seed(0))


def _export(network: nn.Module, example: Tensor, outputs: tuple[str, ...], dynamic: tuple[int, ...]) -> Any:
    """Export the model without torch's metadata, which includes local file names."""
    plain = _LogitsFirst(engine_form(network, tuple(example.shape[1:])))
    program = torch.export.export(plain, (example,), dynamic_shapes=(dict.fromkeys(dynamic, Dim.DYNAMIC),))
    made = torch.onnx.export(program, input_names=[INPUT], output_names=outputs, verbose=False)
    assert made is not None
    model = made.model_proto
    _name_sizes(model.graph)
    model.graph.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


def _name_sizes(graph: Any) -> None:
    """Name the dynamic dimensions, for which torch generates names."""
    images = graph.input[0].type.tensor_type.shape.dim
    names = {images[place].dim_param: name for place, name in _DYNAMIC.items() if images[place].dim_param}
    if not names:
        return
    generated = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in names))
    for value in (*graph.input, *graph.output):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_param = generated.sub(lambda found: names[found[0]], side.dim_param)


def _describe(model: Any, metadata: Mapping[str, Any]) -> None:
    from onnx.helper import set_model_props

    set_model_props(
        model,
        {key: printable(value) if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()},
    )


def _any_engine(content: bytes) -> Session:
    if installed("onnxruntime"):
        return load_onnx(content)
    return load_openvino(content) if installed("openvino") else reference_evaluator(content)
