"""Freed memory is kept between training steps on a CPU."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from skipweave.training.cpu_memory import keep_freed_memory
keep_freed_memory(torch.device(sys.argv[1]))
for _ in range(20):  # glibc before 2.38 takes some rounds until it finds the freed memory
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
@pytest.mark.parametrize(
    ("device", "environment", "kept"),
    [
        ("cpu", {}, True),
        pytest.param("cuda", {}, False, marks=pytest.mark.slow),
        pytest.param("cpu", {"MALLOC_MMAP_MAX_": "65536"}, False, marks=pytest.mark.slow),
    ],
)
def test_memory_is_kept_unless_the_user_configures_malloc(device: str, environment: dict[str, str], kept: bool) -> None:
    own = {key: value for key, value in os.environ.items() if "MALLOC" not in key and key != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", FAULTS, device]
    faults = int(subprocess.run(command, env=own | environment, check=True, capture_output=True, text=True).stdout)
    assert (faults < 100) == kept
