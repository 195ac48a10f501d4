from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skipweave.data import DataConfig
from skipweave.training import FitConfig, ModelConfig


def tiny_config(output: Path, **changes: Any) -> FitConfig:
    """A run of 2 x 11 steps that takes about a second, with augmentation and dropout on."""
    model = ModelConfig("sparsenet40_24", {"units": 2, "growth": 6, "drop_rate": 0.2})
    config = FitConfig(model, DataConfig(validation=700), epochs=2, output=output, accelerator="cpu")
    return replace(config, **changes)


@pytest.fixture(scope="session")
def make_tiny() -> Callable[..., FitConfig]:
    return tiny_config


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., FitConfig]:
    return lambda **changes: tiny_config(**{"output": tmp_path / "runs", **changes})
