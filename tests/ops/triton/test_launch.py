"""Whether the kernels are used."""

import os
import subprocess
import sys

import pytest

from skipweave.ops.triton import launch


@pytest.mark.skipif(bool(launch.MISSING), reason=launch.MISSING)
@pytest.mark.parametrize(("setting", "on"), [(None, False), ("1", True)])
def test_kernels_are_used_only_if_they_are_turned_on(setting: str | None, on: bool):
    code = "from skipweave.ops.triton import launch; print(launch.PROBLEM == launch.MISSING)"
    environment = {name: value for name, value in os.environ.items() if name != "SKIPWEAVE_TRITON"}
    environment |= {} if setting is None else {"SKIPWEAVE_TRITON": setting}
    made = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert made.stdout.strip() == str(on)
