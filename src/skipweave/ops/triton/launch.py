"""Whether Triton can be used, and how its kernels are launched over tiles."""

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch

#: Types of maps and weights that the kernels take.
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def _problem() -> str:
    if find_spec("triton") is None:
        return "Triton is not installed"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton needs a C compiler (gcc, clang, or what CC names), and there is none"
    return ""


#: Why Triton cannot be used, in words; empty if it can.
PROBLEM = _problem()


def launch(
    kernel: Callable[..., Any], grid: tuple[int, ...], arguments: tuple[Any, ...], constants: dict[str, Any]
) -> None:
    """Run a kernel on the device of its first argument, a tensor; an empty grid runs nothing."""
    if all(grid):
        with torch.cuda.device_of(arguments[0]):
            kernel[grid](*arguments, **constants)  # type: ignore[index]


def multiplied(outputs: int) -> dict[str, Any]:
    """How tiles are multiplied: float32 after torch's own setting for convolutions; larger ones by more warps."""
    allowed = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    precision = "tf32" if allowed == "tf32" else "ieee"
    return dict(PRECISION=precision, num_warps=8 if outputs > 32 else 4)


def shares(pixels: int, tile: int, programs: int, most: int) -> tuple[int, int]:
    """Pixels of a share, and shares: so many that with these programs for each there are `most`, or as pixels allow."""
    tiles = max(1, ceil(ceil(pixels, tile), max(1, most // programs)))
    return tiles * tile, ceil(pixels, tiles * tile)


def side(size: int, most: int) -> int:
    """Side of a tile that is multiplied."""
    return min(most, max(16, power_of_two(size)))


def ceil(size: int, part: int) -> int:
    """Parts that make up a size."""
    return -(-size // part)


def power_of_two(size: int) -> int:
    """The least power of two that is no less."""
    return 1 << (size - 1).bit_length()
