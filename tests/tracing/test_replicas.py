"""Norms on the meta device in replicas."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from skipweave.tracing.replicas import FastMetaNorms

NORMS: dict[str, nn.Module] = {
    "batch": nn.BatchNorm2d(8),
    "batch, evaluation": nn.BatchNorm2d(8).eval(),
    "group": nn.GroupNorm(2, 8),
    "instance": nn.InstanceNorm2d(8),
    "layer": nn.LayerNorm((8, 3, 5)),
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fast_meta_norms_return_equal_shapes_and_dtypes(name: str, dtype: torch.dtype) -> None:
    def described(quick: bool) -> tuple[torch.Size, torch.dtype, tuple[int, ...], torch.device]:
        with torch.no_grad(), FastMetaNorms() if quick else nullcontext():
            made: Tensor = NORMS[name].to("meta", dtype)(torch.empty(2, 8, 3, 5, dtype=dtype, device="meta"))
        return made.shape, made.dtype, made.stride(), made.device

    assert described(quick=True) == described(quick=False)
