"""The halving max pool is torch's."""

import pytest
import torch
import torch.nn.functional as F

from skipweave.errors import SkipweaveError
from skipweave.layers import HalvingMaxPool


@pytest.mark.parametrize("size", [(2, 2), (6, 8), (7, 8), (6, 9), (5, 3)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_torch_s(size: tuple[int, int], layout: torch.memory_format) -> None:
    x = torch.randn(2, 3, *size).contiguous(memory_format=layout)
    assert torch.equal(HalvingMaxPool()(x), F.max_pool2d(x, 2))


def test_what_is_no_number_passes() -> None:
    x = torch.randn(2, 3, 6, 5)
    x[0, :, 1, 2] = float("nan")
    x[1, :, 2] = -float("inf")
    x[1, :, 3] = float("nan")
    torch.testing.assert_close(HalvingMaxPool()(x), F.max_pool2d(x, 2), equal_nan=True, rtol=0, atol=0)


def test_maps_of_a_single_row_or_column_are_refused() -> None:
    for size in ((1, 4), (4, 1)):
        with pytest.raises(SkipweaveError, match=f"a map of {size[0]}x{size[1]} pixels cannot be halved"):
            HalvingMaxPool()(torch.randn(1, 2, *size))
