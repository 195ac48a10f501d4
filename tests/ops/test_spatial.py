"""The corner of a map, in eager mode and exported for all sizes at once."""

import torch
from torch import Tensor, nn

from skipweave.ops import crop


class Crop(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return crop(x, y.shape[-2:])


def test_what_is_exported_crops_where_the_example_did_not():
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    examples = torch.zeros(2, 3, 6, 8), torch.zeros(2, 3, 6, 8)
    program = torch.export.export(Crop(), examples, dynamic_shapes=(free, free))
    for size in ((2, 3, 6, 8), (1, 3, 5, 8), (3, 3, 6, 7), (2, 3, 2, 3)):
        x, y = torch.randn(size[0], 3, 6, 8), torch.zeros(size)
        wanted = x[..., : size[2], : size[3]]
        assert torch.equal(Crop()(x, y), wanted)
        assert torch.equal(program.module()(x, y), wanted)


def test_nothing_is_copied_in_eager_mode():
    x = torch.randn(1, 2, 4, 4)
    assert crop(x, (3, 2)).data_ptr() == x.data_ptr()
