"""Fuzz test of the C library built with the address and undefined-behavior sanitizers."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from skipweave.ops.cpu import c_library

ROOT = Path(__file__).parents[2]
FLAGS = ["-O1", "-g", "-std=gnu11", "-fPIC", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
BEYOND = """
import ctypes, sys, torch
from pathlib import Path
from skipweave.ops.cpu import channel_sparse_calls
from skipweave.ops.cpu import c_library
c_library.FOLDER = Path(sys.argv[1])
x, weight, index = torch.zeros(1, 1, 40, 40), torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, dtype=torch.int32)
larger, out = (1, 1, 80, 80), torch.zeros(1, 1, 78, 78)
conv = channel_sparse_calls._described(larger, weight.shape, index.shape, out.shape, (1, 1), (0, 0), (1, 1))
channel_sparse_calls._call("skipweave_forward", conv, index, (x, weight, index, None), out)
"""


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the library built with sanitizers, and its sources."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    folder = tmp_path_factory.mktemp("sanitized")
    for source in c_library.FOLDER.glob("*.[ch]"):
        shutil.copy(source, folder)
    build.SOURCES, build.LIBRARY, build.FLAGS = folder, folder / "library.so", FLAGS
    if problem := build.build():
        pytest.skip(f"no library with sanitizers: {problem}")
    return folder


def run(*arguments: object) -> subprocess.CompletedProcess:
    """Run Python with the sanitizer runtimes preloaded; skip if they are not found."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    runtimes = [
        subprocess.run(
            [*compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    if not all(Path(runtime).is_absolute() for runtime in runtimes):
        pytest.skip("the compiler does not name the sanitizers' runtimes")
    environment = {**os.environ, "LD_PRELOAD": " ".join(runtimes), "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_no_access_out_of_bounds(sanitized: Path) -> None:
    done = run("-m", "tests.ops.fuzz", sanitized, 150)
    assert done.returncode == 0, done.stderr
    assert "generic: 150 shapes" in done.stdout


@pytest.mark.slow
def test_out_of_bounds_access_is_reported(sanitized: Path) -> None:
    done = run("-c", BEYOND, sanitized)
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
