"""Model, available cores, and bfloat16 and AMX instructions of the processor."""

import os
import platform
from functools import cache
from pathlib import Path

_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # of x86, x86 and ARM


def processor() -> str:
    """Model name of the processor."""
    named = (line.partition(":")[2].strip() for line in _cpuinfo().splitlines() if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16, as far as the system lists them (Linux)."""
    return not _BFLOAT16.isdisjoint(_cpuinfo().split())


@cache
def has_amx() -> bool:
    """Whether the processor multiplies matrices of bfloat16 (AMX), as far as the system lists it (Linux)."""
    return "amx_bf16" in _cpuinfo().split()


def _cpuinfo() -> str:
    """What Linux has about the processor; empty elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
