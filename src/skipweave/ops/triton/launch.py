"""Availability of Triton, and common parts of kernel launches."""

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch

#: Data types that the kernels support.
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def _missing() -> str:
    if find_spec("triton") is None:
        return "Triton is not installed"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton needs a C compiler, and neither CC, gcc nor clang was found"
    return ""


#: What Triton lacks here; empty if nothing.
MISSING = _missing()

_OFF = "the kernels are experimental, as they have not been measured on a GPU: SKIPWEAVE_TRITON=1 turns them on"

#: Why the kernels are not used; empty if they are.
PROBLEM = MISSING or ("" if os.environ.get("SKIPWEAVE_TRITON") == "1" else _OFF)


def launch(
    kernel: Callable[..., Any], grid: tuple[int, ...], arguments: tuple[Any, ...], constants: dict[str, Any]
) -> None:
    """Launch a kernel on the device of its first argument, a tensor; with an empty grid, do nothing."""
    if all(grid):
        with torch.cuda.device_of(arguments[0]):
            kernel[grid](*arguments, **constants)  # type: ignore[index]


def multiplied(outputs: int) -> dict[str, Any]:
    """Constants of kernels with matrix products: precision of float32 as set in torch, and the number of warps."""
    allowed = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    precision = "tf32" if allowed == "tf32" else "ieee"
    return dict(PRECISION=precision, num_warps=8 if outputs > 32 else 4)


def chunks(pixels: int, tile: int, programs: int, most: int) -> tuple[int, int]:
    """Size and number of chunks of the pixels that give about `most` programs in total, with `programs` per chunk."""
    tiles = max(1, ceil(ceil(pixels, tile), max(1, most // programs)))
    return tiles * tile, ceil(pixels, tiles * tile)


def side(size: int, most: int) -> int:
    """Side of a tile of a matrix product."""
    return min(most, max(16, power_of_two(size)))


def ceil(size: int, part: int) -> int:
    """Smallest number of parts that cover a size."""
    return -(-size // part)


def power_of_two(size: int) -> int:
    """Smallest power of two that is at least `size`."""
    return 1 << (size - 1).bit_length()
