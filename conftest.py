"""What all tests share: quiet threads, the same random numbers, settings of torch put back; and what is no test."""

import os
import random
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

# The networks of the tests are tiny: threads would only wait for each other, burning the time of others meanwhile. Read
# when torch is imported, here and in the processes that tests start.
for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TORCHINDUCTOR_COMPILE_THREADS": "1"}.items():
    os.environ.setdefault(name, value)

import torch  # noqa: E402

torch.set_num_threads(1)

# Triton's kernels, where triton is not installed: it comes with torch for GPUs only.
collect_ignore_glob = [] if find_spec("triton") else ["src/skipweave/ops/*_kernels.py"]


def _attribute(owner: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


#: What a test may set for the whole process: how it is read, and how it is set.
SETTINGS: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    _attribute(torch.backends.cudnn, "benchmark"),
    _attribute(torch.backends.cudnn, "deterministic"),
    _attribute(torch.backends.cudnn.conv, "fp32_precision"),
    _attribute(torch.backends.cuda.matmul, "fp32_precision"),
]


def _seed() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Make what fixtures of a module or of the session draw the same, whichever test asks for them first."""
    _seed()


@pytest.fixture(autouse=True)
def same_start() -> Iterator[None]:
    """Begin every test from the same random numbers, and put back the settings that it changes."""
    _seed()
    before = [get() for get, _ in SETTINGS]
    yield
    for (get, put), value in zip(SETTINGS, before, strict=True):
        if get() != value:
            put(value)
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()  # what was compiled counts against a limit of each function
