"""Conversion of a network to ONNX, verified against the network."""

import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from skipweave.engines.engine_layers import engine_form
from skipweave.engines.sessions import INPUT, load_onnx, reference_evaluator
from skipweave.models.heads import all_heads, count_heads
from skipweave.tracing.example_inputs import InputSize
from skipweave_config.errors import SkipweaveError
from skipweave_config.printable import printable

_DYNAMIC = {0: "batch", 2: "height", 3: "width"}
_NEEDED = ("onnx", "onnxscript")
_LARGEST_DIFFERENCE = 1e-3  # relative to the largest output


@dataclass(frozen=True)
class OnnxModel:
    """ONNX model and its numerical difference from the network.

    Attributes:
        content: Content of the ONNX file.
        outputs: Names of the outputs: `logits`, and for a network with exits `exit_1`, `exit_2`, ...
        difference: Largest absolute difference of an output from the network's, on two random images.
        largest: Largest absolute output of the network.
        checked_by: Runtime that ran the model.
    """

    content: bytes
    outputs: tuple[str, ...]
    difference: float
    largest: float
    checked_by: str


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
    those of the exits.

    Args:
        network: Network in evaluation mode, on the CPU.
        input_size: Channels, height and width of an image.
        name: Name of the network in errors.
        batch: N; None is dynamic.
        dynamic_size: Whether H and W are dynamic too.
        metadata: Values of the model's metadata; all but strings are stored as JSON.

    Raises:
        SkipweaveError: A package is missing, torch cannot export the network, or the model's outputs differ from the
            network's by more than a thousandth of the largest.
    """
    if missing := [needed for needed in _NEEDED if importlib.util.find_spec(needed) is None]:
        raise SkipweaveError(f"ONNX needs {' and '.join(missing)}, not installed here: pip install 'skipweave[export]'")
    outputs = ("logits", *(f"exit_{number}" for number in range(1, count_heads(network))))
    dynamic = (0,) * (batch is None) + (2, 3) * dynamic_size
    example = torch.zeros(batch or 2, *input_size)
    try:
        with torch.inference_mode(False), torch.no_grad():  # torch.export cannot run in inference mode
            model = _export(network, example, outputs, dynamic)
        _describe(model, metadata or {})
        images = _random_images(example, dynamic_size)
        return _compared(model.SerializeToString(deterministic=True), _LogitsFirst(network), outputs, images)
    except SkipweaveError:
        raise
    except Exception as error:  # torch, onnxscript and the runtime raise various exceptions
        raise SkipweaveError(f"{name} cannot be exported to ONNX: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """First line of the first cause."""
    while error.__cause__:
        error = error.__cause__
    return printable(" ".join(str(error).split()))[:200]


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


def _random_images(example: Tensor, dynamic_size: bool) -> Tensor:
    """Images to compare outputs on; if the model accepts other sizes than the example's, of another one."""
    batch, channels, height, width = example.shape
    size = (batch, channels, height + 3, width - 6) if dynamic_size else example.shape
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


def _compared(content: bytes, heads: nn.Module, outputs: tuple[str, ...], images: Tensor) -> OnnxModel:
    with torch.inference_mode():
        wanted = heads(images)
    session = load_onnx(content) if importlib.util.find_spec("onnxruntime") else reference_evaluator(content)
    found = session(images)
    difference = max(float((one - other).abs().max()) for one, other in zip(found, wanted, strict=True))
    largest = max(float(head.abs().max()) for head in wanted)
    if not difference <= _LARGEST_DIFFERENCE * largest:
        raise SkipweaveError(
            f"the ONNX model differs from the network by {difference:.2g}, with outputs up to {largest:.2g} "
            f"({session.runtime}): expected at most {_LARGEST_DIFFERENCE:g} of that"
        )
    return OnnxModel(content, outputs, difference, largest, session.runtime)
