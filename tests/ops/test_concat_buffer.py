import pytest
import torch
from torch import Tensor

from skipweave.ops import ConcatBuffer


def pieces(*widths: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, width, 4, 4, generator=generator, dtype=dtype, requires_grad=True) for width in widths]


def chain(parts: list[Tensor], copying: bool) -> tuple[Tensor, ...]:
    """Read and append by turns, as a SeqConv layer does, and differentiate."""
    growing, listed = ConcatBuffer(tuple(parts), room=6), list(parts)
    for first in range(3):
        read = torch.cat(listed[first:], dim=1) if copying else growing.read(first)
        made = read.square()[:, :2].tanh()
        growing.append(made)
        listed.append(made)
    out = torch.cat(listed[3:], dim=1) if copying else growing.read(3)
    return out, *torch.autograd.grad(out.square().sum(), parts)


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_reading_is_concatenating(form: torch.memory_format) -> None:
    parts = [part.detach().contiguous(memory_format=form).requires_grad_() for part in pieces(2, 3, 2)]
    torch.testing.assert_close(chain(parts, copying=False), chain(parts, copying=True), rtol=0, atol=0)


def test_gradients_are_right() -> None:
    assert torch.autograd.gradcheck(lambda *parts: chain_out(parts), pieces(2, 1))
    assert torch.autograd.gradgradcheck(lambda *parts: chain_out(parts), pieces(2, 1))


def chain_out(parts: tuple[Tensor, ...]) -> Tensor:
    growing = ConcatBuffer(parts, room=2)
    growing.append(growing.read(0).square()[:, 1:])
    return growing.read(1)


def test_what_needs_no_gradient_may_be_read_by_what_does() -> None:
    growing = ConcatBuffer((torch.ones(1, 1, 2, 2),), room=1)
    weight = torch.ones(1, 1, 1, 1, requires_grad=True)
    made = torch.nn.functional.conv2d(growing.read(0), weight)
    growing.append(made)
    growing.read(1).sum().backward()
    assert weight.grad is not None
    assert weight.grad.item() == 4


@pytest.mark.parametrize("training", [False, True])
def test_reading_copies_nothing(training: bool) -> None:
    with torch.set_grad_enabled(training):
        growing = ConcatBuffer(tuple(pieces(2, 3)), room=2)
        whole, part = growing.read(0), growing.read(1)
        growing.append(torch.ones(2, 2, 4, 4, dtype=torch.float64))
        assert len({read.untyped_storage().data_ptr() for read in (whole, part, growing.read(2))}) == 1
        assert whole.shape[1] == 5
