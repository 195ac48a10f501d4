"""A preallocated buffer for maps that are concatenated step by step and read without copies."""

from typing import Any

import torch
from torch import Tensor

from skipweave.ops.eager_execution import is_eager


class ConcatBuffer:
    """A concatenation along channels to which further maps are appended in place.

    `read` returns a view, in training too: what convolutions save for the backward pass are views of one tensor,
    however many of them read it. (Kernels that need contiguous input still copy it temporarily.) Do not modify what
    was read in place: other readers share the memory. Outside of eager execution the maps are concatenated with
    `torch.cat`, which is the reference definition.

    Args:
        maps: Initial maps, each (N, C_p, H, W).
        room: Number of channels that will be appended.
    """

    def __init__(self, maps: tuple[Tensor, ...], room: int) -> None:
        first = maps[0]
        self._maps: list[Tensor] = []
        self._ends = [0]
        self._memory: Tensor | None = None
        if is_eager(*maps):
            total = sum(x.shape[1] for x in maps) + room
            layout = torch.channels_last if first.stride(1) == 1 else torch.contiguous_format
            self._memory = torch.empty(
                (first.shape[0], total, *first.shape[2:]), dtype=first.dtype, device=first.device, memory_format=layout
            )
        for x in maps:
            self.append(x)

    def append(self, x: Tensor) -> None:
        """Append a map (N, C, H, W)."""
        if self._memory is not None:
            with torch.no_grad():
                self._memory.narrow(1, self._ends[-1], x.shape[1]).copy_(x)
        self._maps.append(x)
        self._ends.append(self._ends[-1] + x.shape[1])

    def read(self, first: int) -> Tensor:
        """Return the concatenation of all maps from index `first` on, (N, sum of their channels, H, W)."""
        maps = self._maps[first:]
        if self._memory is None:
            return torch.cat(maps, dim=1)
        start = self._ends[first]
        # `data` has its own version counter: later appends do not count as modifications of this view.
        view = self._memory.narrow(1, start, self._ends[-1] - start).data
        concatenated: Tensor = _ViewAsConcatenation.apply(_NonDifferentiable(view), *maps)
        return concatenated


class _NonDifferentiable:
    """Wraps a tensor so that autograd does not track it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class _ViewAsConcatenation(torch.autograd.Function):
    """Returns a view that holds copies of the maps, with the gradients of their concatenation."""

    @staticmethod
    def forward(ctx: Any, view: _NonDifferentiable, *maps: Tensor) -> Tensor:
        ctx.widths = [x.shape[1] for x in maps]
        return view.tensor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *gradients[0].split(ctx.widths, dim=1)
