"""Exported networks run by ONNX Runtime or OpenVINO, as modules that are called like the network."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skipweave_config.engines import Precision
from skipweave_config.errors import SkipweaveError
from skipweave_config.extras import require
from skipweave_config.printable import printable

INPUT = "images"
"""Name of a model's input."""

OPENVINO_INFO = "skipweave"
"""Where an OpenVINO file's runtime information has the metadata."""

_making_core = Lock()
_HINTS: Mapping[Precision, str] = {"float32": "f32", "bf16": "bf16"}

Run = Callable[[NDArray[np.float32]], Sequence[Any]]
Shape = tuple[int | None, ...]
"""Sizes of a model's input; None is any."""


class Session(nn.Module):
    """An exported network in an engine, on the CPU. It has no parameters, records no gradients and cannot be pickled.

    A model of a fixed batch size runs any number of images: they are split, and the last batch is filled up.

    Attributes:
        runtime: Name and version of the engine.
        metadata: The model's metadata; all values but those of strings are JSON.
        shape: Sizes of the model's input; None is any.

    Raises:
        SkipweaveError: The engine cannot run the images, for example of another size than the model was exported for,
            or there are none.

    Shape: images (N, C, H, W), converted to float32, to the outputs of all heads, the last head first.
    """

    def __init__(self, run: Run, runtime: str, metadata: Mapping[str, str], shape: Shape) -> None:
        super().__init__()
        self._run = run
        self._lock = Lock()  # a request of OpenVINO runs one batch at a time
        self.runtime = runtime
        self.metadata = dict(metadata)
        self.shape = shape
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs."""
        self._check(images)
        values = images.detach().to("cpu", torch.float32)
        parts = [self._outputs(part) for part in values.split(self.shape[0] or len(values))]
        return parts[0] if len(parts) == 1 else tuple(map(torch.cat, zip(*parts, strict=True)))

    def _check(self, images: Tensor) -> None:
        fits = images.dim() == len(self.shape) and all(
            own in (None, given) for own, given in zip(self.shape[1:], images.shape[1:], strict=True)
        )
        if not fits or not len(images):
            raise SkipweaveError(f"images are {tuple(images.shape)}: expected {self._expected()}")

    def _expected(self) -> str:
        """The sizes that the model takes."""
        sizes = [
            name if size is None else str(size) for name, size in zip("NCHW", (None, *self.shape[1:]), strict=True)
        ]
        return f"({', '.join(sizes)}) with N at least 1" + ", H and W large enough for its layers" * ("H" in sizes)

    def _outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """Outputs for a batch of the model, of which the last images may be missing."""
        batch = fill_batch(images, self.shape[0] or len(images))
        try:
            with self._lock:
                outputs = [torch.from_numpy(np.array(one)) for one in self._run(batch.contiguous().numpy())]
        except Exception as error:  # engines raise RuntimeError and classes of their own
            raise SkipweaveError(
                f"{self.runtime} cannot run images {tuple(images.shape)}: expected {self._expected()} ({reason(error)})"
            ) from error
        if wrong := [tuple(one.shape) for one in outputs if one.shape[:1] != batch.shape[:1]]:
            raise SkipweaveError(
                f"{self.runtime} returns {wrong[0]} for {len(batch)} images: expected one row per image"
            )
        return tuple(one[: len(images)] for one in outputs)


def fill_batch(images: Tensor, batch: int) -> Tensor:
    """Images (N, C, H, W), filled up to a batch with copies of the last one."""
    return images if len(images) == batch else images[torch.arange(batch).clamp(max=len(images) - 1)]


class EngineNet(nn.Module):
    """A session as a network: returns the logits of the last head only.

    Shape: images (N, C, H, W) to logits, as those of the exported network.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.session(images)[0]
        return logits


def load_onnx(content: bytes, *, threads: int | None = None) -> Session:
    """Load an ONNX model in ONNX Runtime.

    Args:
        content: Content of the file.
        threads: Number of threads; that of torch by default.

    Raises:
        SkipweaveError: ONNX Runtime is not installed, or cannot load the model.
    """
    require("onnxruntime")
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()  # more threads busy-wait for each other
    options.log_severity_level = 4  # errors are raised, and need not be printed too
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        shape = tuple(size if isinstance(size, int) else None for size in session.get_inputs()[0].shape)
    except Exception as error:  # of ONNX Runtime's own classes
        raise SkipweaveError(f"ONNX Runtime cannot load the model: {reason(error)}") from error
    metadata = session.get_modelmeta().custom_metadata_map
    name = f"onnxruntime {runtime.__version__}"
    return Session(lambda images: session.run(None, {INPUT: images}), name, metadata, shape)


def load_openvino(
    model: bytes | Path | tuple[bytes, bytes], *, precision: Precision = "float32", threads: int | None = None
) -> Session:
    """Load a model in OpenVINO.

    Args:
        model: Content of an ONNX file, or of an .xml file and its .bin file; or the path of an .onnx file, or of an
            .xml file next to its .bin file.
        precision: Precision of computation; OpenVINO's own default would be bfloat16 where the processor has it.
        threads: Number of threads; that of torch by default.

    Raises:
        SkipweaveError: OpenVINO is not installed, cannot load the model, or has no such precision on this processor.
    """
    require("openvino")
    import openvino

    options = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    read = read_openvino(model)
    try:
        compiled = _core().compile_model(read, "CPU", options)
        sizes = compiled.inputs[0].partial_shape
        shape = tuple(size.get_length() if size.is_static else None for size in sizes)
    except Exception as error:  # OpenVINO raises RuntimeError and others
        raise SkipweaveError(f"OpenVINO cannot load the model: {reason(error)}") from error
    if compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() != _HINTS[precision]:
        raise SkipweaveError(f"precision is {precision}, which OpenVINO has not on this processor: expected float32")
    request = compiled.create_infer_request()
    names = [output.get_any_name() for output in compiled.outputs]

    def run(images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        nonlocal request
        try:
            request.start_async({INPUT: images})
            request.wait()  # infer() does not raise with one thread, and leaves the outputs of the call before
        except BaseException:
            # A compiled model in which a request failed fails again, or returns old outputs.
            request = _core().compile_model(read, "CPU", options).create_infer_request()
            raise
        return [request.get_tensor(name).data for name in names]

    return Session(run, f"openvino {openvino.__version__.split('-')[0]}", openvino_metadata(read), shape)


def _core() -> Any:
    """The core of this process; with several, OpenVINO leaves signal handlers on the freed stack of an older one."""
    with _making_core:
        return _make_core()


@cache
def _make_core() -> Any:
    import openvino

    return openvino.Core()


def read_openvino(model: bytes | Path | tuple[bytes, bytes]) -> Any:
    """Read a model for OpenVINO, as for `load_openvino`.

    Raises:
        SkipweaveError: OpenVINO cannot read it.
    """
    try:
        return _core().read_model(*model) if isinstance(model, tuple) else _core().read_model(model)
    except Exception as error:  # OpenVINO raises RuntimeError and others
        raise SkipweaveError(f"OpenVINO cannot load the model: {reason(error)}") from error


def load_model(content: bytes, engine: Literal["onnxruntime", "openvino"], precision: Precision = "float32") -> Session:
    """Load an ONNX model in an engine.

    Args:
        content: Content of the file.
        engine: The engine.
        precision: As for `load_openvino`; ONNX Runtime computes in float32.

    Raises:
        SkipweaveError: As for `load_onnx` and `load_openvino`.
    """
    return load_openvino(content, precision=precision) if engine == "openvino" else load_onnx(content)


def reference_evaluator(content: bytes) -> Session:
    """Load an ONNX model in the slow reference evaluator of onnx."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    read = onnx.load_from_string(content)
    model = ReferenceEvaluator(read)
    shape = tuple(size.dim_value or None for size in read.graph.input[0].type.tensor_type.shape.dim)

    def run(images: NDArray[np.float32]) -> list[Any]:
        return list(model.run(None, {INPUT: images}))

    return Session(run, f"reference evaluator of onnx {onnx.__version__}", {}, shape)


def openvino_metadata(model: Any) -> dict[str, str]:
    """The metadata of a model of OpenVINO, read from an ONNX file or from one that `model_files` made."""
    place = next((name for name in (OPENVINO_INFO, "framework") if model.has_rt_info([name])), None)
    return dict(model.get_rt_info([place]).value) if place else {}  # that of ONNX files is in "framework"


def reason(error: BaseException) -> str:
    """First line of the first cause, without the places in OpenVINO's source."""
    while error.__cause__:
        error = error.__cause__
    return printable(re.sub(r"Exception from \S+:\d+: ", "", " ".join(str(error).split())))[:200]
