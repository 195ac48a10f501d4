"""Conversion of a network to ONNX, verified against the network."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import Dim

from skipweave.engines.engine_layers import engine_form
from skipweave.engines.sessions import (
    INPUT,
    Session,
    load_onnx,
    load_openvino,
    reason,
    reference_evaluator,
)
from skipweave.models.heads import all_heads, count_heads
from skipweave.tracing.example_inputs import InputSize
from skipweave_config.errors import SkipweaveError
from skipweave_config.extras import installed, missing
from skipweave_config.integers import is_integer
from skipweave_config.printable import printable

_MANY = 1025  # batch sizes for which a program is checked
_BATCH = 2  # of the example; torch.export takes 1 as fixed
_DYNAMIC = {0: "batch", 2: "height", 3: "width"}


Example = tuple[Tensor, tuple[Tensor, ...]]
"""Images, and a network's outputs for them."""
Kind = Literal["random", "calibration"]


@dataclass(frozen=True)
class Comparison:
    """Comparison of the outputs of a model with the network's.

    Attributes:
        runtime: Engine that ran the model.
        images: Number of images.
        difference: Largest absolute difference of an output from the network's, of the head where it is largest
            relative to the head's outputs.
        largest: Largest absolute output of this head of the network.
        kind: Kind of the images.
    """

    runtime: str
    images: int
    difference: float
    largest: float
    kind: Kind = "random"

    def __str__(self) -> str:
        """Describe it in a line."""
        return (
            f"as the network's to {self.difference:.1e}, the largest being {self.largest:.3g} ({self.runtime}, "
            f"{self.images} {self.kind} images)"
        )

    def require(self, tolerance: float) -> None:
        """Check that the difference is at most a part of the largest output.

        Raises:
            SkipweaveError: It is larger, or not finite.
        """
        if not (math.isfinite(self.difference) and self.difference <= tolerance * self.largest):
            raise SkipweaveError(
                f"the model differs from the network by {self.difference:.2g}, with outputs up to {self.largest:.2g} "
                f"({self.runtime}, {self.images} {self.kind} images): expected at most {tolerance:g} of that"
            )


def compare(session: Session, examples: Sequence[Example], kind: Kind = "random") -> Comparison:
    """Compare the outputs of a model with a network's.

    Raises:
        SkipweaveError: The engine cannot run the images, or outputs differ in shape.
    """
    heads: dict[int, tuple[float, float]] = {}  # difference, largest
    for images, expected in examples:
        for head, (output, own) in enumerate(zip(session(images), expected, strict=True)):
            if output.shape != own.shape:
                raise SkipweaveError(
                    f"{session.runtime} returns {tuple(output.shape)} for images {tuple(images.shape)}: expected "
                    f"{tuple(own.shape)}, as of the network"
                )
            found = (float((output - own).abs().max()), float(own.abs().max()))
            difference, largest = heads.get(head, (0.0, 0.0))
            heads[head] = (_larger(difference, found[0]), _larger(largest, found[1]))
    worst = max(heads.values(), key=lambda pair: _larger(0.0, pair[0] / pair[1] if pair[1] else pair[0]))
    return Comparison(session.runtime, sum(len(images) for images, _ in examples), *worst, kind)


def _larger(one: float, other: float) -> float:
    """The larger value; non-finite ones are infinite."""
    return max(value if math.isfinite(value) else math.inf for value in (one, other))


@dataclass(frozen=True)
class OnnxModel:
    """ONNX model, with random images and the network's outputs for them.

    Attributes:
        content: Content of the ONNX file.
        outputs: Names of the outputs: `logits`, and for a network with exits `exit_1`, `exit_2`, ...
        batch: N; None is dynamic.
        examples: Random images, and the network's outputs for them; several if sizes are dynamic.
        comparison: Comparison of the model's outputs with the network's.
    """

    content: bytes
    outputs: tuple[str, ...]
    batch: int | None
    examples: tuple[Example, ...]
    comparison: Comparison


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
    If N is dynamic, one image and five are compared; if H and W are, also odd and larger ones.

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
    _check(network, name, batch)
    outputs = ("logits", *(f"exit_{number}" for number in range(1, count_heads(network))))
    dynamic = (0,) * (batch is None) + (2, 3) * dynamic_size
    try:
        with torch.inference_mode(False), torch.no_grad():  # torch.export cannot run in inference mode
            examples = tuple(
                (images, _outputs(network, images)) for images in _random_images(input_size, batch, dynamic_size)
            )
            model = _export(network, torch.zeros(batch or _BATCH, *input_size), outputs, dynamic)
        _describe(model, metadata or {})
        content = model.SerializeToString(deterministic=True)
        made = OnnxModel(content, outputs, batch, examples, compare(any_engine(content), examples))
    except SkipweaveError:
        raise
    except Exception as error:  # torch, onnxscript and the runtime raise various exceptions
        raise SkipweaveError(f"{name} cannot be exported to ONNX: {reason(error)}") from error
    made.comparison.require(1e-3)
    return made


def _check(network: nn.Module, name: str, batch: int | None) -> None:
    if not isinstance(network, nn.Module):
        raise SkipweaveError(f"the model is a {name}: expected a torch.nn.Module")
    problems = missing(("onnx", "onnxscript"))
    if batch is not None and not is_integer(batch, 1):
        problems.append(f"batch is {batch!r}: expected a positive integer, or None for any number of images")
    if training := [part for part, module in network.named_modules() if module.training]:
        where = f"{training[0]} of {name}" if training[0] else name
        problems.append(f"{where} is in training mode: call eval() of the network first")
    kinds = {(parameter.dtype, parameter.device.type) for parameter in network.parameters()}
    if other := kinds - {(torch.float32, "cpu")}:
        found = ", ".join(f"{dtype} on {device}" for dtype, device in sorted(other, key=str))
        problems.append(f"parameters of {name} are {found}: expected torch.float32 on cpu")
    if problems:
        raise SkipweaveError(*problems)


def _random_images(input_size: InputSize, batch: int | None, dynamic_size: bool) -> list[Tensor]:
    """Images to compare outputs on, also of other sizes than the example's where the model accepts any."""
    channels, height, width = input_size
    sides = [(height, width)]
    if dynamic_size:  # odd ones, and larger ones that are high where the example is wide
        sides += [(height + 3, width + 5), (width + width // 2, height)]
    batches = [1, _BATCH + 3] if batch is None else [batch]
    shapes = [(batches[0], channels, *side) for side in sides] + [
        (number, channels, *sides[0]) for number in batches[1:]
    ]
    made = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=made) for shape in shapes]


def _outputs(network: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    """The network's outputs, the last head first."""
    heads = all_heads(network, images.clone())  # which the network may change
    for head in heads:
        if not isinstance(head, Tensor):
            raise TypeError(f"it returns a {type(head).__name__}: expected a tensor")
        if head.shape[:1] != images.shape[:1]:
            raise ValueError(
                f"it returns {tuple(head.shape)} for images {tuple(images.shape)}: expected one row per image; a fixed "
                "batch size may help"
            )
    return (heads[-1], *heads[:-1])


class _LogitsFirst(nn.Module):
    """All heads of a network, the last head before the exits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of the last head, then those of the exits."""
        *exits, logits = all_heads(self.network, images.clone())  # which the network may change
        return (logits, *exits)


def _export(network: nn.Module, example: Tensor, outputs: tuple[str, ...], dynamic: tuple[int, ...]) -> Any:
    """Export the model without torch's metadata, which includes local file names."""
    plain = _LogitsFirst(engine_form(network, tuple(example.shape[1:])))
    program = torch.export.export(plain, (example,), dynamic_shapes=(dict.fromkeys(dynamic, Dim.DYNAMIC),))
    _check_sizes(program, example, batches=range(1, _MANY) if 0 in dynamic else ())
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


def _check_sizes(program: torch.export.ExportedProgram, example: Tensor, batches: Iterable[int]) -> None:
    """Check that a program is the network's for images of any number and any larger size.

    Raises:
        ValueError: It is not, as the network branches on the batch or image size.
    """
    finite = [size for size in program.range_constraints.values() if size.upper.is_Integer]
    problems = [f"a size of {size.lower} to {size.upper}" for size in finite]
    guards = getattr(program.module(), "_guards_fn", nn.Identity())  # raises at other sizes
    try:
        for batch in batches:
            guards(torch.empty(batch, *example.shape[1:], device="meta"))
    except AssertionError as guard:
        problems.append(str(guard))
    if problems:
        raise ValueError(f"it branches on the batch or image size ({', '.join(problems)}): give a fixed one")


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


def any_engine(content: bytes) -> Session:
    """Load an ONNX model in an engine that is installed, or else in the slow reference evaluator of onnx."""
    if installed("onnxruntime"):
        return load_onnx(content)
    return load_openvino(content) if installed("openvino") else reference_evaluator(content)
