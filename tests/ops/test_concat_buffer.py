"""`ConcatBuffer` against concatenation."""

import pytest
import torch
from torch import Tensor

from skipweave.ops import ConcatBuffer


def maps(*widths: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, width, 4, 4, generator=generator, dtype=dtype, requires_grad=True) for width in widths]


def chain(parts: list[Tensor], concatenating: bool) -> tuple[Tensor, ...]:
    """Read and append alternately, as a SeqConv layer does, and differentiate."""
    buffer, listed = ConcatBuffer(tuple(parts), room=6), list(parts)
    for first in range(3):
        read = torch.cat(listed[first:], dim=1) if concatenating else buffer.read(first)
        made = read.square()[:, :2].tanh()
        buffer.append(made)
        listed.append(made)
    out = torch.cat(listed[3:], dim=1) if concatenating else buffer.read(3)
    return out, *torch.autograd.grad(out.square().sum(), parts)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_read_equals_concatenation(memory_format: torch.memory_format) -> None:
    parts = [part.detach().contiguous(memory_format=memory_format).requires_grad_() for part in maps(2, 3, 2)]
    torch.testing.assert_close(chain(parts, concatenating=False), chain(parts, concatenating=True), rtol=0, atol=0)


def test_gradcheck() -> None:
    assert torch.autograd.gradcheck(lambda *parts: chain_out(parts), maps(2, 1))
    assert torch.autograd.gradgradcheck(lambda *parts: chain_out(parts), maps(2, 1))


def chain_out(parts: tuple[Tensor, ...]) -> Tensor:
    buffer = ConcatBuffer(parts, room=2)
    buffer.append(buffer.read(0).square()[:, 1:])
    return buffer.read(1)


def test_maps_without_gradient_may_be_read_by_differentiable_layers() -> None:
    buffer = ConcatBuffer((torch.ones(1, 1, 2, 2),), room=1)
    weight = torch.ones(1, 1, 1, 1, requires_grad=True)
    made = torch.nn.functional.conv2d(buffer.read(0), weight)
    buffer.append(made)
    buffer.read(1).sum().backward()
    assert weight.grad is not None
    assert weight.grad.item() == 4


@pytest.mark.parametrize("training", [False, True])
def test_read_returns_views(training: bool) -> None:
    with torch.set_grad_enabled(training):
        buffer = ConcatBuffer(tuple(maps(2, 3)), room=2)
        whole, part = buffer.read(0), buffer.read(1)
        buffer.append(torch.ones(2, 2, 4, 4, dtype=torch.float64))
        assert len({read.untyped_storage().data_ptr() for read in (whole, part, buffer.read(2))}) == 1
        assert whole.shape[1] == 5
