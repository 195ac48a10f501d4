"""Tables of the addresses of nodes, for kernels that read them without concatenating them."""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from skipweave.ops.eager_execution import is_plain
from skipweave.ops.triton import launch

_DEVICE = "cuda"  # tests interpret the kernels on the CPU
_MAX_LOAD_BYTES = 16  # per thread
_CACHED_TABLES = 4096  # of 16 bytes per channel: nodes and gradients of all readers of 2000 layers


def are_readable(nodes: Sequence[Tensor], *parameters: Tensor) -> bool:
    """Whether the kernels can read these nodes, with these parameters.

    Nodes must be plain tensors of one data type on a GPU, channels-last up to the stride of pixels. False while a CUDA
    graph is captured, which would record the nodes' addresses.
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
    """Stride from pixel to pixel of a map (N, C, H, W), in elements; 0 if not channels-last or not constant."""
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
    """The address of the first pixel of each channel of a concatenation, and the stride from pixel to pixel.

    Args:
        nodes: Readable maps (N, C_s, H, W); None for a map that is not needed, whose addresses are 0.
        like: Maps with the same numbers of channels and data type.

    Returns:
        (2, C), int64, on the nodes' device. Tables are cached by address: torch's allocator mostly returns the same
        addresses in every step.
    """
    device, widths = like[0].device, tuple(node.shape[1] for node in like)
    where = tuple((0, 0) if node is None else (node.data_ptr(), pixel_step(node)) for node in nodes)
    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    return _table(where, widths, like[0].element_size(), device, stream)


@lru_cache(maxsize=_CACHED_TABLES)
def _table(
    where: tuple[tuple[int, int], ...], widths: tuple[int, ...], size: int, device: torch.device, stream: int
) -> Tensor:
    """Create the table on a stream, so that it is complete before later kernels of this stream."""
    entries = [
        (address + size * channel if address else 0, step)
        for (address, step), width in zip(where, widths, strict=True)
        for channel in range(width)
    ]
    with torch.inference_mode(False):
        return torch.tensor(entries, dtype=torch.int64).T.contiguous().to(device, non_blocking=True)


def vector(nodes: Sequence[Tensor | None], *dense: Tensor) -> int:
    """Number of channels that a thread can load at once: adjacent, at aligned addresses.

    Args:
        nodes: Readable maps, or None.
        dense: Tensors with rows of as many elements as the concatenation has channels.
    """
    present = [node for node in nodes if node is not None]
    sizes = [size for node in present for size in (node.shape[1], pixel_step(node))]
    aligned = [_alignment(tensor) for tensor in (*present, *dense)]
    return min(_MAX_LOAD_BYTES // present[0].element_size(), _power_of_two_in(math.gcd(*sizes, *aligned)))


def vector_of(channels: int, *dense: Tensor) -> int:
    """`vector` for tensors with rows of `channels` elements."""
    widest = _MAX_LOAD_BYTES // max(tensor.element_size() for tensor in dense)
    return min(widest, _power_of_two_in(math.gcd(channels, *map(_alignment, dense))))


def _alignment(tensor: Tensor) -> int:
    """Alignment of a tensor's address: a power of two, in elements."""
    return _power_of_two_in(tensor.data_ptr()) // tensor.element_size()


def _power_of_two_in(size: int) -> int:
    """The largest power of two that divides a size."""
    return size & -size
