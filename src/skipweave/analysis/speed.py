"""Interleaved timing of networks, with lower bounds from the machine's compute and memory rates."""

import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipweave.analysis.profile import Profile
from skipweave.engines import load_model, onnx_model
from skipweave.transforms import optimize_for_inference
from skipweave.transforms.memory_format import FORMATS, MemoryFormat
from skipweave_config.engines import Engine, Precision
from skipweave_config.errors import SkipweaveError

Mode = Literal["inference", "step"]

Key = TypeVar("Key", bound=Hashable)

_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
_WARM_UP = 2


@dataclass(frozen=True)
class Case:
    """Benchmark case.

    Attributes:
        mode: `inference`, with the network optimized by `optimize_for_inference` or exported for its engine, or a
            training `step`: forward, cross-entropy, backward.
        batch: Batch size.
        precision: `float32` or `bf16`: weights and computation in inference, autocast in training.
        memory_format: `contiguous` or `channels_last`, for images and weights in torch.
        compiled: Whether to use `torch.compile`.
        engine: Engine of inference: `torch`, `onnxruntime` or `openvino`, with torch's number of threads.
    """

    mode: Mode
    batch: int
    precision: Precision = "float32"
    memory_format: MemoryFormat = "contiguous"
    compiled: bool = False
    engine: Engine = "torch"


@dataclass(frozen=True)
class Rates:
    """Rates of a machine in a large matrix multiplication and in a large copy."""

    macs_per_second: float
    bytes_per_second: float


@dataclass(frozen=True)
class Speed:
    """Times of one network, with lower bounds on this machine.

    Attributes:
        ms: Median time in milliseconds.
        low_ms: Lower quartile.
        high_ms: Upper quartile.
        images_per_second: Throughput at the median.
        macs_ms: Time of the network's multiply-accumulates, three times as many in a step, at the rate of a large
            matrix multiplication measured in the same rounds.
        bytes_ms: Time to read the weights and, in a step, to write their gradients and to write and read the tensors
            saved for backward, at the rate of a large copy.
    """

    ms: float
    low_ms: float
    high_ms: float
    images_per_second: float
    macs_ms: float
    bytes_ms: float


def measure_speeds(
    actions: Mapping[Key, Callable[[], object]],
    costs: Mapping[Key, Profile],
    case: Case,
    *,
    repeats: int,
    device: torch.device,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[Key, Speed]:
    """Time networks in interleaved rounds, so that all run under the same conditions.

    Args:
        actions: Result of `timed_action` for each network, by name or another key.
        costs: Profile of each network, likewise.
        case: Benchmark case, whose mode, batch size and precision are those of all.
        repeats: Rounds, after two warm-up rounds.
        device: Device.
        progress: Called with the number of rounds done.
    """
    benchmarks = _RateBenchmarks(_DTYPES[case.precision], device)
    seconds = _interleaved({**actions, **benchmarks.actions()}, repeats, device, progress)
    rates = benchmarks.rates(seconds)
    return {name: _speed(seconds[name], case, *_costs(costs[name], case), rates) for name in actions}


def measure_rates(dtype: torch.dtype, device: torch.device, repeats: int = 5) -> Rates:
    """Time a large matrix multiplication of a dtype, and a large copy."""
    benchmarks = _RateBenchmarks(dtype, device)
    return benchmarks.rates(_interleaved(benchmarks.actions(), repeats, device))


def _interleaved(
    actions: Mapping[Any, Callable[[], object]],
    repeats: int,
    device: torch.device,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[Any, list[float]]:
    seconds: dict[Any, list[float]] = {name: [] for name in actions}
    for done in range(1 - _WARM_UP, repeats + 1):
        for name, action in actions.items():
            spent = seconds_of(action, device)
            if done > 0:
                seconds[name].append(spent)
        progress(max(0, done))
    return seconds


def _speed(seconds: list[float], case: Case, macs: int, moved: float, rates: Rates) -> Speed:
    low, middle, high = quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else 3 * seconds
    return Speed(
        ms=1000 * middle,
        low_ms=1000 * low,
        high_ms=1000 * high,
        images_per_second=case.batch / middle,
        macs_ms=1000 * macs / rates.macs_per_second,
        bytes_ms=1000 * moved / rates.bytes_per_second,
    )


def _costs(cost: Profile, case: Case) -> tuple[int, float]:
    """Multiply-accumulates of a batch, and the bytes that have to be transferred."""
    itemsize = _DTYPES[case.precision].itemsize
    if case.mode == "inference":
        return case.batch * cost.macs, itemsize * cost.parameters
    saved = case.batch * cost.saved_bytes * itemsize // 4  # counted in float32
    return 3 * case.batch * cost.macs, 2 * itemsize * cost.parameters + 2 * saved


def timed_action(
    model: nn.Module, case: Case, input_size: tuple[int, int, int], device: torch.device
) -> Callable[[], object]:
    """Build the function to time: one inference or one training step of a network, which is moved to the device.

    Raises:
        SkipweaveError: The network does not accept such images, or a step has fewer than two images.
    """
    if case.mode == "step" and case.batch < 2:
        raise SkipweaveError(f"batch is {case.batch}: expected at least 2 in a training step, for batch norm")
    if case.engine != "torch":
        return _engine_action(model, case, input_size)
    model = model.to(device)
    images = torch.randn(case.batch, *input_size, device=device).to(memory_format=FORMATS[case.memory_format])
    if case.mode == "inference":
        weights = torch.bfloat16 if case.precision == "bf16" else None
        fast = optimize_for_inference(
            model, memory_format=case.memory_format, compile=case.compiled, weights=weights, input_size=input_size
        )
        return partial(_infer, fast, images)
    model = model.to(memory_format=FORMATS[case.memory_format]).train()
    with torch.no_grad():
        count, classes, *pixels = _logits(model(images)).shape
    labels = torch.randint(classes, (count, *pixels), device=device)
    if case.compiled:
        model.compile()
    return partial(_step, model, images, labels, _autocast(case, device))


def _engine_action(model: nn.Module, case: Case, input_size: tuple[int, int, int]) -> Callable[[], object]:
    assert case.engine != "torch"
    content = onnx_model(model.cpu().eval(), input_size, name=type(model).__name__, batch=case.batch).content
    return partial(load_model(content, case.engine, case.precision), torch.randn(case.batch, *input_size))


def _infer(model: nn.Module, images: Tensor) -> None:
    with torch.inference_mode():
        model(images)


def _step(model: nn.Module, images: Tensor, labels: Tensor, context: AbstractContextManager[object]) -> None:
    model.zero_grad()
    with context:
        loss = F.cross_entropy(_logits(model(images)), labels)
    loss.backward()


def _logits(out: object) -> Tensor:
    """Logits of the last head: torchvision's Inception also returns those of its auxiliary head."""
    first = out if isinstance(out, Tensor) else out[0]  # type: ignore[index]
    assert isinstance(first, Tensor)
    return first


def _autocast(case: Case, device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16) if case.precision == "bf16" else nullcontext()


class _RateBenchmarks:
    """Operations that measure the rates of a machine; larger on a GPU, where launch time would matter."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.side, self.copied = (8192, 2**28) if device.type == "cuda" else (1024, 2**24)
        self.factors = [torch.randn(self.side, self.side, device=device, dtype=dtype) for _ in range(2)]
        self.source, self.target = (torch.zeros(self.copied, device=device) for _ in range(2))

    def actions(self) -> dict[Any, Callable[[], object]]:
        """Functions to time, by names that no network has."""
        return {":product": partial(torch.matmul, *self.factors), ":copy": partial(self.target.copy_, self.source)}

    def rates(self, seconds: Mapping[Any, list[float]]) -> Rates:
        """Rates from seconds by these names."""
        return Rates(
            self.side**3 / median(seconds[":product"]),
            2 * self.source.nbytes / median(seconds[":copy"]),
        )


def seconds_of(action: Callable[[], object], device: torch.device) -> float:
    """Time a function until the device has finished."""
    _wait(device)
    start = time.perf_counter()
    action()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
