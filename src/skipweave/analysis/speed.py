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
from skipweave.errors import SkipweaveError
from skipweave.transforms import optimize_for_inference
from skipweave.transforms.memory_format import FORMATS, MemoryFormat

What = Literal["inference", "step"]
Precision = Literal["float32", "bf16"]
Make = Callable[[], nn.Module]

_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
_WARM_UP = 2


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
class Rates:
    """What a machine can do: its rates in one large product of matrices, and in one large copy."""

    macs_a_second: float
    bytes_a_second: float


@dataclass(frozen=True)
class Speed:
    """Times of one network, beside what bounds them on this machine.

    Attributes:
        ms: Median time, milliseconds.
        low_ms: Lower quartile.
        high_ms: Upper quartile.
        images_per_second: By the median.
        macs_ms: What the network's multiply-accumulates, three times as many in a step, would take at the rate of a
            product of two large matrices, measured in the same turns.
        bytes_ms: What it would take to read the weights and, in a step, to write their gradients and to write and read
            what is saved for the backward pass, at the rate of a copy.
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
    actions = {name: timed_action(make(), case, input_size, device) for name, make in networks.items()}
    return measure_actions(actions, costs, case, repeats=repeats, device=device, tell=tell)


def measure_actions(
    actions: Mapping[str, Callable[[], object]],
    costs: Mapping[str, Profile],
    case: Case,
    *,
    repeats: int,
    device: torch.device,
    tell: Callable[[int], None] = lambda done: None,
) -> dict[str, Speed]:
    """`measure_speeds` of what `timed_action` made of each network for this case; arguments as there."""
    yardsticks = _Yardsticks(_DTYPES[case.precision], device)
    seconds = _in_turns({**actions, **yardsticks.actions()}, repeats, device, tell)
    rates = yardsticks.rates(seconds)
    return {name: _speed(seconds[name], case, *_costs(costs[name], case), rates) for name in actions}


def measure_rates(dtype: torch.dtype, device: torch.device, repeats: int = 5) -> Rates:
    """Time a large product of matrices of a type, and a large copy."""
    yardsticks = _Yardsticks(dtype, device)
    return yardsticks.rates(_in_turns(yardsticks.actions(), repeats, device))


def _in_turns(
    actions: Mapping[str, Callable[[], object]],
    repeats: int,
    device: torch.device,
    tell: Callable[[int], None] = lambda done: None,
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for done in range(1 - _WARM_UP, repeats + 1):
        for name, action in actions.items():
            spent = seconds_of(action, device)
            if done > 0:
                seconds[name].append(spent)
        tell(max(0, done))
    return seconds


def _speed(seconds: list[float], case: Case, macs: int, moved: float, rates: Rates) -> Speed:
    low, middle, high = quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else 3 * seconds
    return Speed(
        ms=1000 * middle,
        low_ms=1000 * low,
        high_ms=1000 * high,
        images_per_second=case.batch / middle,
        macs_ms=1000 * macs / rates.macs_a_second,
        bytes_ms=1000 * moved / rates.bytes_a_second,
    )


def _costs(cost: Profile, case: Case) -> tuple[int, float]:
    """Multiply-accumulates of a batch, and bytes that cannot be kept from memory."""
    number = _DTYPES[case.precision].itemsize
    if case.what == "inference":
        return case.batch * cost.macs, number * cost.parameters
    saved = case.batch * cost.saved_bytes * number // 4  # counted in float32
    return 3 * case.batch * cost.macs, 2 * number * cost.parameters + 2 * saved


def timed_action(
    model: nn.Module, case: Case, input_size: tuple[int, int, int], device: torch.device
) -> Callable[[], object]:
    """Make what is timed of a network, which is moved to the device: one inference or one training step.

    Raises:
        SkipweaveError: The network cannot take such images, or has to have two images a step.
    """
    if case.what == "step" and case.batch < 2:
        raise SkipweaveError("a step of one image cannot normalize maps of one pixel: give batches of 2 or more")
    model = model.to(device)
    images = torch.randn(case.batch, *input_size, device=device).to(memory_format=FORMATS[case.memory_format])
    if case.what == "inference":
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


class _Yardsticks:
    """What tells a machine's rates; on a GPU larger, so that its start does not count."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.side, self.copied = (8192, 2**28) if device.type == "cuda" else (1024, 2**24)
        self.factors = [torch.randn(self.side, self.side, device=device, dtype=dtype) for _ in range(2)]
        self.source, self.target = (torch.zeros(self.copied, device=device) for _ in range(2))

    def actions(self) -> dict[str, Callable[[], object]]:
        """What is timed, by names that no network has."""
        return {":product": partial(torch.matmul, *self.factors), ":copy": partial(self.target.copy_, self.source)}

    def rates(self, seconds: Mapping[str, list[float]]) -> Rates:
        """The rates, from seconds by those names."""
        return Rates(
            self.side**3 / median(seconds[":product"]),
            2 * self.source.nbytes / median(seconds[":copy"]),
        )


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
