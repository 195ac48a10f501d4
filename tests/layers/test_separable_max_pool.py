"""`SeparableMaxPool` against `torch.nn.functional.max_pool2d`."""

import pytest
import torch
import torch.nn.functional as F

from skipweave.layers import SeparableMaxPool
from skipweave_config.errors import SkipweaveError


@pytest.mark.parametrize("size", [(3, 3), (6, 8), (7, 8), (6, 9), (5, 3)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 1)])
def test_equals_max_pool2d(
    size: tuple[int, int], layout: torch.memory_format, kernel: int, stride: int, padding: int
) -> None:
    x = torch.randn(2, 3, *size).contiguous(memory_format=layout)
    assert torch.equal(SeparableMaxPool(kernel, stride, padding)(x), F.max_pool2d(x, kernel, stride, padding))


def test_nan_and_inf_propagate() -> None:
    x = torch.randn(2, 3, 6, 5)
    x[0, :, 1, 2] = float("nan")
    x[1, :, 2] = -float("inf")
    x[1, :, 3] = float("nan")
    torch.testing.assert_close(SeparableMaxPool(2, 2)(x), F.max_pool2d(x, 2), equal_nan=True, rtol=0, atol=0)


def test_maps_smaller_than_the_window_raise() -> None:
    for size in ((2, 4), (4, 2)):
        with pytest.raises(SkipweaveError, match=f"{size[0]}x{size[1]}"):
            SeparableMaxPool(3, 2)(torch.randn(1, 2, *size))
