"""Cropping and dilated pooling, in eager mode and exported with dynamic sizes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipweave.ops import crop, dilated_avg_pool2d


class Crop(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return crop(x, y.shape[-2:])


def test_exported_crop_depends_on_the_size():
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    examples = torch.zeros(2, 3, 6, 8), torch.zeros(2, 3, 6, 8)
    program = torch.export.export(Crop(), examples, dynamic_shapes=(free, free))
    for size in ((2, 3, 6, 8), (1, 3, 5, 8), (3, 3, 6, 7), (2, 3, 2, 3)):
        x, y = torch.randn(size[0], 3, 6, 8), torch.zeros(size)
        expected = x[..., : size[2], : size[3]]
        assert torch.equal(Crop()(x, y), expected)
        assert torch.equal(program.module()(x, y), expected)


def test_eager_crop_is_a_view():
    x = torch.randn(1, 2, 4, 4)
    assert crop(x, (3, 2)).data_ptr() == x.data_ptr()


def test_dilated_pool_contains_the_strided_pool_of_the_sampled_map():
    x = torch.randn(2, 3, 16, 24)
    for dilation in (1, 2, 4):
        sampled = F.avg_pool2d(x[..., ::dilation, ::dilation], 2)
        found = dilated_avg_pool2d(x, dilation)
        assert found.shape == x.shape
        torch.testing.assert_close(found[..., :: 2 * dilation, :: 2 * dilation], sampled)
