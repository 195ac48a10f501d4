"""A trained network as an ONNX model, compared with the network before it is given away."""

import importlib.util
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from skipweave.data import WholeImage
from skipweave.errors import SkipweaveError
from skipweave.layers import ChannelSparseConv2d
from skipweave.training import Description
from skipweave.training.auxiliary_heads import all_heads, count_heads
from skipweave.transforms import optimize_for_inference
from skipweave_config.printable import printable

INPUT = "images"
"""The name of a model's input."""

_FREE = {0: "batch", 2: "height", 3: "width"}
_NEEDED = ("onnx", "onnxscript")
_TRACED, _CHECKED = (64, 96), (67, 90)  # sizes of images of networks that take any
_LARGEST_DIFFERENCE = 1e-3  # as a share of the largest output


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX model, and how near it comes to the network that it was made of.

    Attributes:
        content: What a file of it holds.
        outputs: Their names: `logits`, and of a network with exits `exit_1`, `exit_2`, ...
        difference: The largest one between its outputs and the network's, of two random images.
        largest: The largest one of the network's outputs.
        checked_by: What ran the model.
    """

    content: bytes
    outputs: tuple[str, ...]
    difference: float
    largest: float
    checked_by: str


def to_onnx(network: nn.Module, description: Description) -> OnnxModel:
    """Make an ONNX model of a trained network, run it, and compare.

    Batch norms are folded (`skipweave.optimize_for_inference`); channel-sparse convolutions become dense ones with
    zeros. The input `images` is (N, C, H, W) float32 as the description's preprocessing gives it, of any N; H and W
    are free too where pixels are labeled. The output `logits` is what the network gives; those of exits follow it.
    The model's metadata hold the description: `model`, `args`, `data`, `classes`, `preprocessing`, `palette`, all but
    names as JSON.

    Args:
        network: In evaluation mode and on the CPU, as `load_run` and `load_weights` give it.
        description: Of the network.

    Returns:
        The model, which holds its weights.

    Raises:
        SkipweaveError: A package is missing, torch cannot export the network, or the model's outputs differ from the
            network's by more than a thousandth of the largest.
    """
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise SkipweaveError(f"ONNX needs {' and '.join(missing)}, not installed here: pip install 'skipweave[export]'")
    free = isinstance(description.preprocessing, WholeImage)
    outputs = ("logits", *(f"exit_{number}" for number in range(1, count_heads(network))))
    try:
        images = torch.randn(2, *_image_size(description, _CHECKED), generator=torch.Generator().manual_seed(0))
        model = _export(network, _image_size(description, _TRACED), outputs, free)
        _describe(model, description)
        return _compared(model.SerializeToString(deterministic=True), _LogitsFirst(network), outputs, images)
    except SkipweaveError:
        raise
    except Exception as error:  # torch, onnxscript and what runs the model fail each in their own way
        raise SkipweaveError(f"{description.model} cannot be exported to ONNX: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """What went wrong at first, in a line."""
    while error.__cause__:
        error = error.__cause__
    return printable(" ".join(str(error).split()))[:200]


class _LogitsFirst(nn.Module):
    """All heads of a network, its own before the exits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of the last head, then those of exit after exit."""
        *exits, logits = all_heads(self.network, images)
        return (logits, *exits)


def _image_size(description: Description, free: tuple[int, int]) -> tuple[int, int, int]:
    """Channels, height and width of an image; `free` are those of networks that take any."""
    preprocessing = description.preprocessing
    height, width = free if isinstance(preprocessing, WholeImage) else (preprocessing.crop, preprocessing.crop)
    return preprocessing.channels, height, width


def _export(network: nn.Module, size: tuple[int, int, int], outputs: tuple[str, ...], free: bool) -> Any:
    """The model, without what torch notes of its making: names of files on this machine among it."""
    dynamic = dict.fromkeys(_FREE if free else (0,), Dim.DYNAMIC)
    plain = _LogitsFirst(_for_any_runtime(network, size))
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
    """Call the sizes that are free by the names of the field; torch made names up."""
    images = graph.input[0].type.tensor_type.shape.dim
    names = {images[place].dim_param: name for place, name in _FREE.items() if images[place].dim_param}
    made_up = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in names))
    for value in (*graph.input, *graph.output):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_param = made_up.sub(lambda found: names[found[0]], side.dim_param)


def _for_any_runtime(network: nn.Module, size: tuple[int, int, int]) -> nn.Module:
    """A copy in which batch norms are folded and every convolution is a usual one."""
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
    made, by = _run(content, outputs, images.numpy())
    difference = max(float(np.abs(one - other).max()) for one, other in zip(made, wanted, strict=True))
    largest = max(float(np.abs(head).max()) for head in wanted)
    if not difference <= _LARGEST_DIFFERENCE * largest:
        raise SkipweaveError(
            f"the ONNX model differs from the network by {difference:.2g}, with outputs up to {largest:.2g} ({by}): "
            "it is not used"
        )
    return OnnxModel(content, outputs, difference, largest, by)


def _run(content: bytes, outputs: tuple[str, ...], images: np.ndarray[Any, Any]) -> tuple[Any, str]:
    """What a model makes of images, and what ran it."""
    model: Any
    if importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()  # more would wait for each other, and in a busy loop
        model = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        by = f"onnxruntime {onnxruntime.__version__}"
    else:
        import onnx
        from onnx.reference import ReferenceEvaluator

        model, by = ReferenceEvaluator(content), f"reference evaluator of onnx {onnx.__version__}"
    return model.run(list(outputs), {INPUT: images}), by
