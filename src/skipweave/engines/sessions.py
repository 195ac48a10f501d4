"""Exported networks run by ONNX Runtime or OpenVINO, as modules that are called like the network."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skipweave_config.errors import SkipweaveError

INPUT = "images"
"""Name of a model's input."""

EngineName = Literal["onnxruntime", "openvino"]
EnginePrecision = Literal["float32", "bf16"]
Run = Callable[[NDArray[np.float32]], Sequence[Any]]

OPENVINO_INFO = "skipweave"
"""Where an OpenVINO file's runtime information has the metadata."""


class Session(nn.Module):
    """An exported network in an engine, on the CPU. It has no parameters, and records no gradients.

    Attributes:
        runtime: Name and version of the engine.
        metadata: The model's metadata; all values but those of strings are JSON.

    Shape: images (N, C, H, W), converted to float32, to the outputs of all heads, the last head first.
    """

    def __init__(self, run: Run, runtime: str, metadata: Mapping[str, str]) -> None:
        super().__init__()
        self._run = run
        self.runtime = runtime
        self.metadata = dict(metadata)
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs."""
        outputs = self._run(images.detach().to("cpu", torch.float32).contiguous().numpy())
        return tuple(torch.from_numpy(np.array(output)) for output in outputs)


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
    runtime = engine_package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()  # more threads busy-wait for each other
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of ONNX Runtime's own classes
        raise SkipweaveError(f"ONNX Runtime cannot load the model: {_line(error)}") from error
    metadata = session.get_modelmeta().custom_metadata_map
    return Session(lambda images: session.run(None, {INPUT: images}), f"onnxruntime {runtime.__version__}", metadata)


def load_openvino(
    model: bytes | Path | tuple[bytes, bytes], *, precision: EnginePrecision = "float32", threads: int | None = None
) -> Session:
    """Load a model in OpenVINO.

    Args:
        model: Content of an ONNX file, or of an .xml file and its .bin file; or the path of an .onnx file, or of an
            .xml file next to its .bin file.
        precision: Precision of computation; OpenVINO's own default would be bfloat16 where the processor has it.
        threads: Number of threads; that of torch by default.

    Raises:
        SkipweaveError: OpenVINO is not installed, or cannot load the model.
    """
    openvino = engine_package("openvino")
    options = {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        read = openvino.Core().read_model(*model) if isinstance(model, tuple) else openvino.Core().read_model(model)
        request = openvino.compile_model(read, "CPU", options).create_infer_request()
    except Exception as error:  # OpenVINO raises RuntimeError and others
        raise SkipweaveError(f"OpenVINO cannot load the model: {_line(error)}") from error

    def run(images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return list(request.infer({INPUT: images}).values())

    return Session(run, f"openvino {openvino.__version__.split('-')[0]}", openvino_metadata(read))


def reference_evaluator(content: bytes) -> Session:
    """Load an ONNX model in the slow reference evaluator of onnx."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = ReferenceEvaluator(content)

    def run(images: NDArray[np.float32]) -> list[Any]:
        return list(model.run(None, {INPUT: images}))

    return Session(run, f"reference evaluator of onnx {onnx.__version__}", {})


def openvino_metadata(model: Any) -> dict[str, str]:
    """The metadata of a model of OpenVINO, read from an ONNX file or from one that `openvino_files` wrote."""
    place = next((name for name in (OPENVINO_INFO, "framework") if model.has_rt_info([name])), None)
    return dict(model.get_rt_info([place]).value) if place else {}  # that of ONNX files is in "framework"


def engine_package(name: EngineName) -> ModuleType:
    """Import the package of an engine.

    Raises:
        SkipweaveError: It is not installed.
    """
    if importlib.util.find_spec(name) is None:
        extra = {"onnxruntime": "export", "openvino": "openvino"}[name]
        raise SkipweaveError(f"{name} is not installed here: pip install 'skipweave[{extra}]'")
    return importlib.import_module(name)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
