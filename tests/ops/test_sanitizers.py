"""The C library built with the address and the undefined-behavior sanitizer, on shapes drawn at random."""

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
    """Build the library with sanitizers, in a folder with its sources."""
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
    """Run Python with the sanitizers' runtimes, which must be loaded first of all; skip where they are not found."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    runtimes = [
        subprocess.run(
            [*compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    if not all(Path(runtime).is_absolute() for runtime in runtimes):
        pytest.skip("the compiler does not name the sanitizers' runtimes")
    surroundings = {**os.environ, "LD_PRELOAD": " ".join(runtimes), "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True)


@pytest.mark.slow
def test_nothing_is_read_or_written_beyond_what_is_given(sanitized: Path) -> None:
    done = run("-m", "tests.ops.fuzz", sanitized, 150)
    assert done.returncode == 0, done.stderr
    assert "generic: 150 shapes" in done.stdout


@pytest.mark.slow
def test_a_fault_would_be_reported(sanitized: Path) -> None:
    done = run("-c", BEYOND, sanitized)
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
