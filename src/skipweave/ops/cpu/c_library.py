"""Loading of the C library in csrc/, its instruction sets and its threads."""

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
    """The C library, or why it is not available.

    Attributes:
        path: Path of the library.
        problem: Why it cannot be used; empty if it can.
        instruction_set: "avx512bf16", "avx512", "avx2" or "generic".
        threaded: Whether it runs on the threads of the OpenMP runtime that torch has loaded.
    """

    path: Path
    problem: str
    instruction_set: str = ""
    threaded: bool = False


def _fingerprint() -> str:
    """Hash of the sources, as computed by `hatch_build.py`."""
    sources = sorted(path for path in FOLDER.iterdir() if path.suffix in (".c", ".h"))
    return sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


@cache
def library() -> Library:
    """Load the library, once per process, and select the best instruction set of the processor."""
    path = FOLDER / "library.so"
    if not path.is_file():
        return Library(path, "it was not built: no C compiler was found when skipweave was installed")
    try:
        found = functions(path)
    except OSError as error:
        return Library(path, f"it cannot be loaded: {error}")
    if found.skipweave_fingerprint().decode() != _fingerprint():
        return Library(path, "it was built from different sources: reinstall skipweave")
    return Library(path, "", found.skipweave_instruction_set(None).decode(), _parallel() is not None)


def use_instruction_set(name: str) -> bool:
    """Select another instruction set; return whether processor and library support it."""
    return functions(library().path).skipweave_instruction_set(name.encode()) is not None


@cache
def functions(path: Path) -> ctypes.CDLL:
    """The library's functions.

    Raises:
        OSError: The library cannot be loaded.
    """
    found = ctypes.CDLL(str(path))
    found.skipweave_fingerprint.restype = ctypes.c_char_p
    found.skipweave_instruction_set.argtypes = (ctypes.c_char_p,)
    found.skipweave_instruction_set.restype = ctypes.c_char_p
    return found


@cache
def _parallel() -> int | None:
    """Address of `GOMP_parallel` in the OpenMP runtime that torch has loaded; a second runtime would oversubscribe."""
    try:
        return ctypes.cast(ctypes.CDLL(None).GOMP_parallel, ctypes.c_void_p).value
    except (AttributeError, OSError):
        return None


class Workers(ctypes.Structure):
    """`workers` of csrc/kernels.h."""

    _fields_ = (("threads", ctypes.c_int64), ("parallel", ctypes.c_void_p))


def workers() -> Workers:
    """Threads for a call: as many as torch uses."""
    parallel = _parallel()
    return Workers(torch.get_num_threads() if parallel else 1, parallel)


def readable(
    tensor: Tensor, dtype: torch.dtype = torch.float32, order: torch.memory_format = torch.contiguous_format
) -> Tensor:
    """Return the tensor as C can read it, copied if necessary: contiguous, aligned, without a lazy negation.

    Raises:
        RuntimeError: The tensor has another data type or is not on the CPU.
    """
    if tensor.dtype != dtype or not tensor.is_cpu:
        raise RuntimeError(f"tensor has {tensor.dtype} on {tensor.device}: the C library expects {dtype} on the CPU")
    tensor = tensor.resolve_neg().contiguous(memory_format=order)
    aligned = not tensor.data_ptr() % tensor.element_size()  # memory-mapped tensors may not be
    return tensor if aligned else tensor.clone()
