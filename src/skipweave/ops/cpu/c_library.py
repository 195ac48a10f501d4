"""The C library beside this file: how it is found and loaded, and what it computes with."""

import ctypes
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "csrc"


@dataclass(frozen=True)
class Library:
    """What became of loading the C library.

    Attributes:
        path: Where it is, or should be.
        problem: Why it cannot be used, in words; empty if it can.
        instruction_set: What it computes with: "avx512", "avx2" or "generic".
        threaded: Whether it runs in the threads of the OpenMP runtime that torch has loaded.
    """

    path: Path
    problem: str
    instruction_set: str = ""
    threaded: bool = False


def _fingerprint() -> str:
    """What the sources are, as `hatch_build.py` makes it."""
    sources = sorted(path for path in FOLDER.iterdir() if path.suffix in (".c", ".h"))
    return sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


@cache
def library() -> Library:
    """Load the library once a process and choose the best instruction set that the processor has."""
    path = FOLDER / "library.so"
    if not path.is_file():
        return Library(path, "it was not built: there was no C compiler when skipweave was installed")
    try:
        found = functions(path)
    except OSError as error:
        return Library(path, f"it cannot be loaded: {error}")
    if found.skipweave_fingerprint().decode() != _fingerprint():
        return Library(path, "it was built from other sources: install skipweave again")
    return Library(path, "", found.skipweave_instruction_set(None).decode(), _parallel() is not None)


def use_instruction_set(name: str) -> bool:
    """Compute with another instruction set from now on; return whether processor and library have it."""
    return functions(library().path).skipweave_instruction_set(name.encode()) is not None


@cache
def functions(path: Path) -> ctypes.CDLL:
    """The library's functions.

    Raises:
        OSError: It cannot be loaded.
    """
    found = ctypes.CDLL(str(path))
    found.skipweave_fingerprint.restype = ctypes.c_char_p
    found.skipweave_instruction_set.argtypes = (ctypes.c_char_p,)
    found.skipweave_instruction_set.restype = ctypes.c_char_p
    return found


@cache
def _parallel() -> int | None:
    """`GOMP_parallel` of the OpenMP runtime that torch has loaded: a second runtime would fight with it."""
    try:
        return ctypes.cast(ctypes.CDLL(None).GOMP_parallel, ctypes.c_void_p).value
    except (AttributeError, OSError):
        return None


class Workers(ctypes.Structure):
    """`workers` of csrc/kernels.h."""

    _fields_ = (("threads", ctypes.c_int64), ("parallel", ctypes.c_void_p))


def workers() -> Workers:
    """Torch's threads."""
    parallel = _parallel()
    return Workers(torch.get_num_threads() if parallel else 1, parallel)


def readable(
    tensor: Tensor, dtype: torch.dtype = torch.float32, order: torch.memory_format = torch.contiguous_format
) -> Tensor:
    """The tensor as C reads it, copied where it must be: in order, aligned, with no negation that is still to be done.

    Raises:
        RuntimeError: It is of another type, or not on the CPU.
    """
    if tensor.dtype != dtype or not tensor.is_cpu:
        raise RuntimeError(f"a tensor of {tensor.dtype} on {tensor.device}: the C library expects {dtype} on the CPU")
    tensor = tensor.resolve_neg().contiguous(memory_format=order)
    return tensor.clone() if tensor.data_ptr() % 4 else tensor  # what was mapped from a file may begin anywhere
