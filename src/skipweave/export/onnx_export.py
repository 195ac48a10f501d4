"""ONNX export, verified against the network."""

import importlib.util
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from skipweave.layers import ChannelSparseConv2d
from skipweave.training import Description
from skipweave.training.auxiliary_heads import all_heads, count_heads
from skipweave.transforms import optimize_for_inference
from skipweave_config.errors import SkipweaveError
from skipweave_config.printable import printable

INPUT = "images"
"""Name of the model's input."""

_DYNAMIC = {0: "batch", 2: "height", 3: "width"}
_NEEDED = ("onnx", "onnxscript")
_TRACED, _CHECKED = (64, 96), (67, 90)  # image sizes for networks that accept any
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


def to_onnx(network: nn.Module, description: Description) -> OnnxModel:
    """Export a trained network to ONNX, run the model, and compare its outputs.

    Batch norms are folded (`skipweave.optimize_for_inference`); channel-sparse convolutions become dense ones with
    zeros. The input `images` is (N, C, H, W) float32, preprocessed as in the description, with dynamic N; for
    segmentation, H and W are dynamic too. The outputs are `logits`, then those of the exits. The model's metadata hold
    the description: `model`, `args`, `data`, `classes`, `preprocessing`, `palette`, and `multi_label` if images have
    any number of labels; all but strings are JSON.

    Args:
        network: Network in evaluation mode on the CPU, as returned by `load_run` and `load_weights`.
        description: Description of the network.

    Returns:
        The model with its weights.

    Raises:
        SkipweaveError: A package is missing, torch cannot export the network, or the model's outputs differ from the
            network's by more than a thousandth of the largest.
    """
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise SkipweaveError(f"ONNX needs {' and '.join(missing)}, not installed here: pip install 'skipweave[export]'")
    dynamic_size = description.preprocessing.image_size is None
    outputs = ("logits", *(f"exit_{number}" for number in range(1, count_heads(network))))
    try:
        images = torch.randn(2, *_image_size(description, _CHECKED), generator=torch.Generator().manual_seed(0))
        model = _export(network, _image_size(description, _TRACED), outputs, dynamic_size)
        _describe(model, description)
        return _compared(model.SerializeToString(deterministic=True), _LogitsFirst(network), outputs, images)
    except SkipweaveError:
        raise
    except Exception as error:  # torch, onnxscript and the runtime raise various exceptions
        raise SkipweaveError(f"{description.model} cannot be exported to ONNX: {_reason(error)}") from error


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


def _image_size(description: Description, default: tuple[int, int]) -> tuple[int, int, int]:
    """Channels, height and width of an image; `default` is the size for networks that accept any."""
    preprocessing = description.preprocessing
    height, width = preprocessing.image_size or default
    return preprocessing.channels, height, width


def _export(network: nn.Module, size: tuple[int, int, int], outputs: tuple[str, ...], dynamic_size: bool) -> Any:
    """Export the model without torch's metadata, which includes local file names."""
    dynamic = dict.fromkeys(_DYNAMIC if dynamic_size else (0,), Dim.DYNAMIC)
    plain = _LogitsFirst(_without_custom_layers(network, size))
    program = torch.export.export(plain, (torch.zeros(2, *size),), dynamic_shapes=(dynamic,))
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
    generated = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in names))
    for value in (*graph.input, *graph.output):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_param = generated.sub(lambda found: names[found[0]], side.dim_param)


def _without_custom_layers(network: nn.Module, size: tuple[int, int, int]) -> nn.Module:
    """Copy with folded batch norms and only dense convolutions."""
    plain = optimize_for_inference(network, memory_format="channels_last", input_size=size).network
    for name, part in list(plain.named_modules()):
        if isinstance(part, ChannelSparseConv2d):
            plain.set_submodule(name, part.to_dense())
    return plain.to(memory_format=torch.contiguous_format)


def _describe(model: Any, description: Description) -> None:
    from onnx.helper import set_model_props

    values = description.as_plain()
    set_model_props(
        model, {key: printable(value) if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    )


def _compared(content: bytes, heads: nn.Module, outputs: tuple[str, ...], images: Tensor) -> OnnxModel:
    with torch.inference_mode():
        wanted = [head.numpy() for head in heads(images)]
    outputs_of_model, runtime = _run(content, outputs, images.numpy())
    difference = max(float(np.abs(one - other).max()) for one, other in zip(outputs_of_model, wanted, strict=True))
    largest = max(float(np.abs(head).max()) for head in wanted)
    if not difference <= _LARGEST_DIFFERENCE * largest:
        raise SkipweaveError(
            f"the ONNX model differs from the network by {difference:.2g}, with outputs up to {largest:.2g} "
            f"({runtime}): expected at most {_LARGEST_DIFFERENCE:g} of that"
        )
    return OnnxModel(content, outputs, difference, largest, runtime)


def _run(content: bytes, outputs: tuple[str, ...], images: np.ndarray[Any, Any]) -> tuple[Any, str]:
    """Outputs of a model, and the name of the runtime."""
    model: Any
    if importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()  # more threads busy-wait for each other
        model = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        runtime = f"onnxruntime {onnxruntime.__version__}"
    else:
        import onnx
        from onnx.reference import ReferenceEvaluator

        model, runtime = ReferenceEvaluator(content), f"reference evaluator of onnx {onnx.__version__}"
    return model.run(list(outputs), {INPUT: images}), runtime
