"""Fixtures of the kernel tests: the C library, and Triton kernels on a GPU or in the interpreter."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.version import Version

from skipweave.ops.cpu import c_library, node_reading
from skipweave.ops.triton import cross_layer_launch, node_table, read_launch

_COMPILE = """
import sys
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

class NoGPU:
    get_current_target = staticmethod(lambda: GPUTarget("cuda", int(sys.argv[1]), 32))
    get_current_device = staticmethod(lambda: 0)
    get_current_stream = staticmethod(lambda device: 0)

def compile_only(kernel, *arguments, grid, warmup, **constants):
    made = run(kernel, *arguments, grid=grid, warmup=True, **constants)
    assert made.asm["cubin"] and made.metadata.shared < 100_000
    print(kernel.__name__)

driver.set_active(NoGPU())
run, JITFunction.run = JITFunction.run, compile_only
"""


@pytest.fixture(scope="session")
def compiled_library() -> c_library.Library:
    """The C library; skips if it is not available."""
    library = c_library.library()
    if library.problem:
        pytest.skip(library.problem)
    return library


@pytest.fixture(params=["avx512bf16", "avx512", "avx2", "generic"])
def instruction_set(request: pytest.FixtureRequest, compiled_library: c_library.Library) -> Iterator[str]:
    """Each instruction set of the processor, selected in the C library."""
    if not c_library.use_instruction_set(request.param):
        pytest.skip(f"the processor has no {request.param}")
    yield request.param
    c_library.use_instruction_set(compiled_library.instruction_set)


@pytest.fixture
def device() -> str:
    """Device on which kernels run, with float32 matrix products in float32."""
    triton = pytest.importorskip("triton")
    gpu = torch.cuda.is_available()
    if not gpu and Version(triton.__version__) < Version("3.7") and Version(np.__version__) >= Version("2.4"):
        pytest.skip("the interpreter of Triton 3.6 is older than numpy 2.4")
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    return "cuda" if gpu else "cpu"


@pytest.fixture
def kernels(device: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the kernels that run, which read nodes on `device`."""
    names: list[str] = []
    monkeypatch.setattr(node_table, "_DEVICE", device)
    monkeypatch.setattr(node_reading, "layout", lambda *_: None)
    for module in (read_launch, cross_layer_launch):

        def recorded(kernel: str, *rest, launch=module._launch) -> None:
            names.append(kernel)
            launch(kernel, *rest)

        monkeypatch.setattr(module, "_launch", recorded)
    return names


@pytest.fixture
def compile_for(tmp_path: Path) -> Callable[[int, str], list[str]]:
    """Function that compiles the kernels launched by Python code for a compute capability and returns their names."""
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        pytest.skip("the kernels themselves run here")

    def compile_code(capability: int, code: str) -> list[str]:
        environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        done = subprocess.run(
            [sys.executable, "-c", _COMPILE + code, str(capability)],
            env=environment | {"TRITON_CACHE_DIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    return compile_code
