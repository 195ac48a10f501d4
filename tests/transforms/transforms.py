"""All transforms under one signature, with checks of their results; shared by several test files."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import skipweave

TRANSFORMS: dict[str, Callable[..., nn.Module]] = {
    "sparsify": lambda model, **inputs: skipweave.sparsify(model, 0.3, seed=1, **inputs).model,
    "depth_multiplier": lambda model, **inputs: skipweave.depth_multiplier(model, 0.5, **inputs).model,
    "convert": lambda model, **inputs: skipweave.convert(model, min_width=8, **inputs).model,
    "optimize_for_inference": lambda model, **inputs: skipweave.optimize_for_inference(model, **inputs),
}


def shaken(model: nn.Module) -> nn.Module:
    """Give batch norms statistics, weights and biases that fold to something."""
    generator = torch.Generator().manual_seed(0)
    for part in model.modules():
        if isinstance(part, _BatchNorm) and part.running_mean is not None:
            for tensor, low, high in (
                (part.running_mean, -0.5, 0.5),
                (part.running_var, 0.5, 1.5),
                (part.weight, 0.5, 1.5),
                (part.bias, -0.5, 0.5),
            ):
                if tensor is not None:
                    tensor.data.uniform_(low, high, generator=generator)
    return model


def assert_alike(made: Any, expected: Any, *, values: bool) -> None:
    """Assert that two results have the same structure, shapes and dtypes, and perhaps the same numbers."""
    assert type(made) is type(expected)
    if isinstance(made, Tensor):
        assert (made.shape, made.dtype) == (expected.shape, expected.dtype)
        if values:
            torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())
    elif isinstance(made, np.ndarray):
        assert_alike(torch.from_numpy(made), torch.from_numpy(expected), values=values)
    elif isinstance(made, Mapping):
        assert list(made) == list(expected)
        for key in made:
            assert_alike(made[key], expected[key], values=values)
    elif isinstance(made, list | tuple):
        assert len(made) == len(expected)
        for one, other in zip(made, expected, strict=True):
            assert_alike(one, other, values=values)
    elif is_dataclass(made):
        for field in fields(made):
            assert_alike(getattr(made, field.name), getattr(expected, field.name), values=values)
    elif hasattr(made, "__dict__"):
        assert_alike(vars(made), vars(expected), values=values)
