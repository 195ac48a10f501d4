"""Inference of a study's networks in the engines that are installed, to be timed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version

import torch
from torch import Tensor, nn

from skipweave.engines import load_model, onnx_model
from skipweave.study.executors.events import one_line
from skipweave.training.distributed.devices import computes_bfloat16
from skipweave.transforms import optimize_for_inference
from skipweave_config.engines import Engine, Precision
from skipweave_config.extras import missing

#: Engines and precisions, by the name in tables.
_CASES: Mapping[str, tuple[Engine, Precision]] = {
    "torch": ("torch", "float32"),
    "torch_bf16": ("torch", "bf16"),
    "onnxruntime": ("onnxruntime", "float32"),
    "openvino": ("openvino", "float32"),
    "openvino_bf16": ("openvino", "bf16"),
}


@dataclass(frozen=True)
class EngineRuns:
    """Inference of one network on one image.

    Attributes:
        actions: By name of engine and precision, such as `openvino_bf16`.
        failures: One-line reason why an engine cannot run the network, likewise.
    """

    actions: Mapping[str, Callable[[], object]]
    failures: Mapping[str, str]


def engine_names(device: torch.device) -> tuple[str, ...]:
    """Engines that are installed, in the precisions that the device computes in; on other devices than CPUs torch."""
    on_cpu = device.type == "cpu"
    bfloat16 = computes_bfloat16(device)
    return tuple(
        name
        for name, (engine, precision) in _CASES.items()
        if (bfloat16 or precision == "float32")
        and (engine == "torch" or (on_cpu and not missing(("onnx", "onnxscript", engine))))
    )


def engine_note(device: torch.device) -> str:
    """How inference in the engines is timed, with their versions."""
    engines = dict.fromkeys(_CASES[name][0] for name in engine_names(device))
    versions = ", ".join(f"{engine} {version(engine)}" for engine in engines)
    return f"one image per call, after one that is not counted, by {versions}; torch by optimize_for_inference"


def engine_runs(network: nn.Module, image: Tensor, device: torch.device) -> EngineRuns:
    """Inference of a network in all engines.

    Args:
        network: In evaluation mode, in float32 on the CPU.
        image: A batch of one, NCHW.
        device: Device of torch.
    """
    size = tuple(image.shape[1:])
    content = cache(lambda: onnx_model(network, size, name=type(network).__name__, batch=1).content)  # for both engines
    actions: dict[str, Callable[[], object]] = {}
    failures: dict[str, str] = {}
    for name in engine_names(device):
        engine, precision = _CASES[name]
        try:
            if engine == "torch":
                action = _torch_action(network, image.to(device), precision)
            else:
                action = partial(load_model(content(), engine, precision), image)
            action()
            actions[name] = action
        except Exception as error:  # networks of other libraries raise any exception
            failures[name] = one_line(error)
    return EngineRuns(actions, failures)


def _torch_action(network: nn.Module, image: Tensor, precision: Precision) -> Callable[[], object]:
    weights = torch.bfloat16 if precision == "bf16" else None
    fast = optimize_for_inference(network.to(image.device), weights=weights, input_size=tuple(image.shape[1:]))

    def infer() -> None:
        with torch.inference_mode():
            fast(image)

    return infer
