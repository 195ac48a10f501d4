"""How fast networks are, in turns, and how close to what the machine could do."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipweave.analysis.profile import Profile
from skipweave.compress import optimize_for_inference
from skipweave.errors import SkipweaveError

What = Literal["inference", "step"]
Precision = Literal["float32", "bf16"]
MemoryFormat = Literal["contiguous", "channels_last"]
Make = Callable[[], nn.Module]

_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
_WARM_UP = 2
_MATRIX = 1024  # side of the matrices whose product tells the machine's rate
_COPIED = 2**24  # numbers whose copy does


@dataclass(frozen=True)
class Case:
    """What is timed.

    Attributes:
        what: `inference` (of what `optimize_for_inference` makes of the network) or a training `step`: forward,
            cross-entropy, backward.
        batch: Images.
        precision: `float32`; or `bf16`: weights and computation in inference, autocast in training.
        memory_format: `contiguous` or `channels_last`, of images and weights.
        compiled: Whether `torch.compile` makes kernels.
    """

    what: What
    batch: int
    precision: Precision = "float32"
    memory_format: MemoryFormat = "contiguous"
    compiled: bool = False


@dataclass(frozen=True)
class Speed:
    """Times of one network, beside what bounds them on this machine.

    Attributes:
        ms: Median time, milliseconds.
        low_ms: Lower quartile.
        high_ms: Upper quartile.
        images_per_second: By the median.
        macs_ms: What the network's multiply-accumulates, three times as many in a step, would take at the rate of a
            product of two 1024 x 1024 matrices, measured in the same turns.
        bytes_ms: What it would take to read the weights and, in a step, to write their gradients and to write and read
            what is saved for the backward pass (in float32), at the rate of a copy.
    """

    ms: float
    low_ms: float
    high_ms: float
    images_per_second: float
    macs_ms: float
    bytes_ms: float


def measure_speeds(
    networks: Mapping[str, Make],
    costs: Mapping[str, Profile],
    case: Case,
    *,
    input_size: tuple[int, int, int],
    repeats: int,
    device: torch.device,
    tell: Callable[[int], None] = lambda done: None,
) -> dict[str, Speed]:
    """Time networks in turns, so that all meet the same machine.

    Args:
        networks: What makes each, by name.
        costs: Their `profile`, by name.
        case: What is timed.
        input_size: (C, H, W) of an image.
        repeats: Rounds of which medians and quartiles are taken, after two that are not counted.
        device: Where.
        tell: Called with the number of rounds done.

    Raises:
        SkipweaveError: A network cannot take such images, or has to have two images a step.
    """
    if case.what == "step" and case.batch < 2:
        raise SkipweaveError("a step of one image cannot normalise maps of one pixel: give batches of 2 or more")
    actions = {name: _action(make(), case, input_size, device) for name, make in networks.items()}
    rates = {"product": _product(case, device), "copy": _copy(device)}
    seconds: dict[str, list[float]] = {name: [] for name in (*actions, *rates)}
    for done in range(1 - _WARM_UP, repeats + 1):
        for name, action in {**actions, **rates}.items():
            spent = seconds_of(action, device)
            if done > 0:
                seconds[name].append(spent)
        tell(max(0, done))
    macs_a_second = _MATRIX**3 / median(seconds["product"])
    bytes_a_second = 2 * 4 * _COPIED / median(seconds["copy"])
    return {
        name: _speed(seconds[name], case, *_costs(costs[name], case), macs_a_second, bytes_a_second)
        for name in networks
    }


def _speed(
    seconds: list[float], case: Case, macs: int, moved: float, macs_a_second: float, bytes_a_second: float
) -> Speed:
    low, middle, high = quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else 3 * seconds
    return Speed(
        ms=1000 * middle,
        low_ms=1000 * low,
        high_ms=1000 * high,
        images_per_second=case.batch / middle,
        macs_ms=1000 * macs / macs_a_second,
        bytes_ms=1000 * moved / bytes_a_second,
    )


def _costs(cost: Profile, case: Case) -> tuple[int, float]:
    """Multiply-accumulates of a batch, and bytes that cannot be kept from memory."""
    number = 2 if case.precision == "bf16" else 4
    if case.what == "inference":
        return case.batch * cost.macs, number * cost.parameters
    return 3 * case.batch * cost.macs, 2 * number * cost.parameters + 2 * case.batch * cost.saved_bytes


def _action(
    model: nn.Module, case: Case, input_size: tuple[int, int, int], device: torch.device
) -> Callable[[], object]:
    model = model.to(device)
    images = torch.randn(case.batch, *input_size, device=device).to(memory_format=_FORMATS[case.memory_format])
    if case.what == "inference":
        weights = torch.bfloat16 if case.precision == "bf16" else None
        fast = optimize_for_inference(
            model, memory_format=case.memory_format, compile=case.compiled, weights=weights, input_size=input_size
        )
        return partial(_infer, fast, images)
    model = model.to(memory_format=_FORMATS[case.memory_format]).train()
    with torch.no_grad():
        classes = _logits(model(images)).shape[1]
    if case.compiled:
        model.compile()
    return partial(_step, model, images, torch.randint(classes, (case.batch,), device=device), _autocast(case, device))


def _infer(model: nn.Module, images: Tensor) -> None:
    with torch.inference_mode():
        model(images)


def _step(model: nn.Module, images: Tensor, labels: Tensor, context: AbstractContextManager[object]) -> None:
    model.zero_grad()
    with context:
        loss = F.cross_entropy(_logits(model(images)), labels)
    loss.backward()


def _logits(out: object) -> Tensor:
    """The network's own logits: torchvision's Inception gives those of its auxiliary head too."""
    first = out if isinstance(out, Tensor) else out[0]  # type: ignore[index]
    assert isinstance(first, Tensor)
    return first


def _autocast(case: Case, device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16) if case.precision == "bf16" else nullcontext()


def _product(case: Case, device: torch.device) -> Callable[[], object]:
    dtype = torch.bfloat16 if case.precision == "bf16" else torch.float32
    one, other = (torch.randn(_MATRIX, _MATRIX, device=device, dtype=dtype) for _ in range(2))
    return partial(torch.matmul, one, other)


def _copy(device: torch.device) -> Callable[[], object]:
    source, target = (torch.zeros(_COPIED, device=device) for _ in range(2))
    return partial(target.copy_, source)


def seconds_of(action: Callable[[], object], device: torch.device) -> float:
    """Seconds until the device is done with it: accelerators work on after a call returns."""
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
