"""Break-even density of the C library against a dense convolution: measured once per machine, or a default."""

import json
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F

from skipweave.files.user_cache import cache_folder
from skipweave.ops.cpu import c_library, channel_sparse_calls
from skipweave.ops.cpu.processor import processor

#: Maximum density at which the C library is used for 1x1 and larger kernels, unless measured.
DEFAULTS = {"1x1": 0.35, "larger": 0.6}
_DENSITIES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_SECONDS = 0.25  # of measurement per density


def cache_file() -> Path:
    """Path of the file with this user's measurements."""
    return cache_folder() / "break_even.json"


def _machine() -> str:
    return f"{processor()}; {c_library.library().instruction_set}; torch {torch.__version__}"


def _cached() -> dict[str, dict[str, float]]:
    try:
        cached = json.loads(cache_file().read_text(encoding="utf-8"))
        return cached if isinstance(cached, dict) else {}
    except (OSError, ValueError, RuntimeError):  # no file, invalid JSON, no home directory
        return {}


@cache
def measured() -> dict[str, float] | None:
    """Break-even densities measured on this machine with this torch; None if there are none."""
    figures = _cached().get(_machine())
    if not isinstance(figures, dict) or figures.keys() != DEFAULTS.keys():
        return None
    return figures if all(isinstance(value, float) for value in figures.values()) else None


@torch.compiler.assume_constant_result
def break_even(kernel: tuple[int, int]) -> float:
    """Maximum density at which the C library is used for kernels of this size."""
    return (measured() or DEFAULTS)["1x1" if kernel == (1, 1) else "larger"]


def measure() -> dict[str, float]:
    """Time both implementations at increasing densities and write the result to `cache_file`, if possible."""
    figures = {name: _crossing(size) for name, size in (("1x1", 1), ("larger", 3))}
    try:
        cache_file().parent.mkdir(parents=True, exist_ok=True)
        cache_file().write_text(json.dumps({**_cached(), _machine(): figures}, indent=1), encoding="utf-8")
    except (OSError, RuntimeError):
        pass  # read-only or no home directory
    measured.cache_clear()
    return figures


def _crossing(kernel: int, channel_count: int = 256) -> float:
    """The largest of the tested densities up to which the library is faster."""
    x = torch.randn(4, channel_count, 14, 14)
    padding = (kernel // 2, kernel // 2)
    dense = torch.randn(channel_count, channel_count, kernel, kernel)
    fastest = 0.0
    for density in _DENSITIES:
        fan_in = round(density * channel_count)
        index = torch.rand(channel_count, channel_count).argsort(1)[:, :fan_in].sort(1).values.int()
        weight = torch.randn(channel_count, fan_in, kernel, kernel)
        sparse_time, dense_time = _times(
            partial(channel_sparse_calls.forward, x, weight, index, None, (1, 1), padding, (1, 1)),
            partial(F.conv2d, x, dense, padding=padding),
        )
        if sparse_time > dense_time:
            break
        fastest = density
    return fastest


def _times(*calls: Callable[[], object]) -> list[float]:
    """Median CPU time of each call; calls alternate."""
    taken: list[list[float]] = [[] for _ in calls]
    with torch.inference_mode():
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end or len(taken[0]) < 5:
            for times, call in zip(taken, calls, strict=True):
                start = time.thread_time()
                call()
                times.append(time.thread_time() - start)
    return [median(times) for times in taken]
