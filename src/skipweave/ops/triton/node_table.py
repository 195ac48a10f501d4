"""Where nodes lie in memory, written down for the kernels that read them without concatenating them."""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from skipweave.ops.eager import is_plain
from skipweave.ops.triton import launch

_DEVICE = "cuda"  # that the kernels are for; tests have them interpreted on the CPU
_WIDEST = 16  # bytes that a thread loads at once
_TABLES = 4096  # that are remembered, 16 bytes a channel: the nodes and gradients of every reader of 2000 layers


def are_readable(nodes: Sequence[Tensor], *parameters: Tensor) -> bool:
    """Whether the kernels can read nodes, with these parameters.

    They read plain nodes of one type on a GPU, all channels-last but for the distance of pixels. While a CUDA graph is
    captured they do not, since it would remember where the nodes lie.
    """
    if launch.PROBLEM or not is_plain(*nodes, *parameters):
        return False
    device, dtype = nodes[0].device, nodes[0].dtype
    return (
        device.type == _DEVICE
        and all(tensor.dtype in launch.DTYPES and tensor.device == device for tensor in (*nodes, *parameters))
        and all(node.dtype == dtype and node.numel() and pixel_step(node) for node in nodes)
        and not (device.type == "cuda" and torch.cuda.is_current_stream_capturing())
    )


def pixel_step(node: Tensor) -> int:
    """Elements from a pixel of a map (N, C, H, W) to the next; 0 where it is not channels-last, or pixels vary."""
    images, channels, rows, columns = node.shape
    places = [(size, node.stride(at)) for size, at in ((columns, 3), (rows, 2), (images, 0)) if size > 1]
    step = places[0][1] if places else channels
    count = 1
    for size, stride in places:
        if stride != count * step:
            return 0
        count *= size
    return step if step >= channels and (channels == 1 or node.stride(1) == 1) else 0


def table(nodes: Sequence[Tensor | None], like: Sequence[Tensor]) -> Tensor:
    """Say of each channel of a concatenation where its first pixel lies, and how many elements further the next does.

    Args:
        nodes: Maps (N, C_s, H, W) that are readable; None for one that nobody wants, whose addresses are 0.
        like: Maps of the same channels and type.

    Returns:
        (2, C) of int64 on the nodes' device. It depends on the addresses alone and is remembered by them: from step to
        step torch's allocator mostly gives out the same ones.
    """
    device, widths = like[0].device, tuple(node.shape[1] for node in like)
    where = tuple((0, 0) if node is None else (node.data_ptr(), pixel_step(node)) for node in nodes)
    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    return _table(where, widths, like[0].element_size(), device, stream)


@lru_cache(maxsize=_TABLES)
def _table(
    where: tuple[tuple[int, int], ...], widths: tuple[int, ...], size: int, device: torch.device, stream: int
) -> Tensor:
    """Make the table in the order of a stream, so that it is there when a kernel of this stream begins."""
    entries = [
        (address + size * channel if address else 0, step)
        for (address, step), width in zip(where, widths, strict=True)
        for channel in range(width)
    ]
    with torch.inference_mode(False):
        return torch.tensor(entries, dtype=torch.int64).T.contiguous().to(device, non_blocking=True)


def vector(nodes: Sequence[Tensor | None], *dense: Tensor) -> int:
    """Channels that every thread can load at once: they lie side by side, at addresses that allow it.

    Args:
        nodes: Maps that are readable, or None.
        dense: Tensors whose rows have as many elements as all nodes have channels.
    """
    there = [node for node in nodes if node is not None]
    sizes = [size for node in there for size in (node.shape[1], pixel_step(node))]
    aligned = [_alignment(tensor) for tensor in (*there, *dense)]
    return min(_WIDEST // there[0].element_size(), _power_of_two_in(math.gcd(*sizes, *aligned)))


def vector_of(channels: int, *dense: Tensor) -> int:
    """`vector` of tensors that all have rows of as many elements."""
    widest = _WIDEST // max(tensor.element_size() for tensor in dense)
    return min(widest, _power_of_two_in(math.gcd(channels, *map(_alignment, dense))))


def _alignment(tensor: Tensor) -> int:
    """The power of two, in elements, at a multiple of which a tensor begins."""
    return _power_of_two_in(tensor.data_ptr()) // tensor.element_size()


def _power_of_two_in(size: int) -> int:
    """The greatest power of two that divides a size."""
    return size & -size
