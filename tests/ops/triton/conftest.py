"""The kernels are off by default; here they are on."""

import pytest

from skipweave.ops.triton import launch


@pytest.fixture(autouse=True)
def kernels_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "PROBLEM", launch.MISSING)
