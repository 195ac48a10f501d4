"""A map that grows by channels and is read without being copied."""

from typing import Any

import torch
from torch import Tensor

from skipweave.ops.eager import is_eager


class GrowingMap:
    """Pieces of channels side by side in one piece of memory: those given, then those appended.

    Reading is a view of that memory, in training too: what convolutions save for the backward pass are views of one
    tensor, however many of them read it. (Kernels that need their input in one run of memory still copy it for as long
    as they work.) What was read must not be changed in place: others read the same memory. Where execution is not eager
    the pieces are concatenated, which is the definition.

    Args:
        pieces: What is there already, each (N, C_p, H, W).
        room: Channels that will be appended.
    """

    def __init__(self, pieces: tuple[Tensor, ...], room: int) -> None:
        first = pieces[0]
        self._pieces: list[Tensor] = []
        self._ends = [0]
        self._memory: Tensor | None = None
        if is_eager(*pieces):
            total = sum(piece.shape[1] for piece in pieces) + room
            layout = torch.channels_last if first.stride(1) == 1 else torch.contiguous_format
            self._memory = torch.empty(
                (first.shape[0], total, *first.shape[2:]), dtype=first.dtype, device=first.device, memory_format=layout
            )
        for piece in pieces:
            self.append(piece)

    def append(self, piece: Tensor) -> None:
        """Put a piece (N, C, H, W) behind the others."""
        if self._memory is not None:
            with torch.no_grad():
                self._memory.narrow(1, self._ends[-1], piece.shape[1]).copy_(piece)
        self._pieces.append(piece)
        self._ends.append(self._ends[-1] + piece.shape[1])

    def read(self, first: int) -> Tensor:
        """Return the concatenation of the pieces from number `first` on, (N, sum of their channels, H, W)."""
        pieces = self._pieces[first:]
        if self._memory is None:
            return torch.cat(pieces, dim=1)
        start = self._ends[first]
        # `data` has a version counter of its own: what is appended later is no change of what is read now.
        view = self._memory.narrow(1, start, self._ends[-1] - start).data
        joined: Tensor = _Joined.apply(_Held(view), *pieces)
        return joined


class _Held:
    """Carries a tensor past autograd."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class _Joined(torch.autograd.Function):
    """Tells autograd that a view is the concatenation of pieces that were copied there."""

    @staticmethod
    def forward(ctx: Any, view: _Held, *pieces: Tensor) -> Tensor:
        ctx.widths = [piece.shape[1] for piece in pieces]
        return view.tensor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *gradients[0].split(ctx.widths, dim=1)
