"""Calls of the C library's reading of nodes: joined, or summed across layers."""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from skipweave.ops.cpu import c_library


class Reading(ctypes.Structure):
    """`reading` of csrc/kernels.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("count", "batch", "channels", "pixels", "planes")),
        *((name, ctypes.c_void_p) for name in ("node", "width", "image", "step", "gain", "bias")),
        ("workers", c_library.Workers),
    )


def layout(nodes: Sequence[Tensor], *others: Tensor) -> torch.memory_format | None:
    """In which order the library can read these, which are plain, and makes its result; None where it cannot.

    It reads float32 maps on the CPU, all contiguous but for the distance of images, or all channels-last but for that
    and the distance of pixels; `others`, gains and the like, may lie as they will.
    """
    if c_library.library().problem or not all(map(_is_readable, (*others, *nodes))):
        return None
    if all(map(_has_whole_planes, nodes)):
        return torch.contiguous_format
    return torch.channels_last if all(map(_has_whole_pixels, nodes)) else None


def _is_readable(tensor: Tensor) -> bool:
    here = tensor.dtype == torch.float32 and tensor.device.type == "cpu"
    return here and not tensor.data_ptr() % 4  # what was mapped from a file may begin anywhere


def _has_whole_planes(node: Tensor) -> bool:
    _, _, height, width = node.shape
    return node.stride()[1:] == (height * width, width, 1)


def _has_whole_pixels(node: Tensor) -> bool:
    _, channel, row, pixel = node.stride()
    return channel == 1 and row == node.shape[3] * pixel


def read(nodes: Sequence[Tensor], gain: Tensor, bias: Tensor, order: torch.memory_format) -> Tensor:
    """`concat_read` of nodes in the order that `layout` says."""
    batch, _, *size = nodes[0].shape
    activated = torch.empty(batch, len(gain), *size, dtype=gain.dtype, device=gain.device, memory_format=order)
    reading, _kept = _described(nodes, len(gain), gain, bias, order)
    _function("skipweave_read", None, 1)(reading, activated.data_ptr())
    return activated


def read_gradients(
    gradient: Tensor,
    nodes: Sequence[Tensor],
    gain: Tensor,
    bias: Tensor,
    wanted: Sequence[bool],
    order: torch.memory_format,
) -> tuple[list[Tensor | None], Tensor, Tensor]:
    """Gradients of the nodes, where wanted, of gains and of biases, from that of `read`."""
    by_gain, by_bias = torch.empty_like(gain), torch.empty_like(bias)
    reading, _kept = _described(nodes, len(gain), gain, bias, order)
    by_nodes = _gradients("skipweave_read_gradients", reading, gradient, nodes, wanted, order, by_gain, by_bias)
    return by_nodes, by_gain, by_bias


def cross_sum(nodes: Sequence[Tensor], weight: Tensor, bias: Tensor, order: torch.memory_format) -> Tensor:
    """`cross_layer` of nodes of one shape in the order that `layout` says."""
    total = torch.empty_like(nodes[0], memory_format=order)
    reading, _kept = _described(nodes, weight.shape[1], weight, bias, order)
    _function("skipweave_cross", None, 1)(reading, total.data_ptr())
    return total


def cross_gradients(
    gradient: Tensor, nodes: Sequence[Tensor], weight: Tensor, wanted: Sequence[bool], order: torch.memory_format
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """Gradients of weights, of biases and of the nodes, where wanted, from that of `cross_sum`."""
    by_weight, by_bias = weight.new_empty(weight.shape), weight.new_empty(weight.shape[1])
    reading, _kept = _described(nodes, len(by_bias), weight, None, order)
    by_nodes = _gradients("skipweave_cross_gradients", reading, gradient, nodes, wanted, order, by_weight, by_bias)
    return by_weight, by_bias, by_nodes


def _gradients(
    name: str,
    reading: Reading,
    gradient: Tensor,
    nodes: Sequence[Tensor],
    wanted: Sequence[bool],
    order: torch.memory_format,
    *by_parameters: Tensor,
) -> list[Tensor | None]:
    """Gradients of the nodes, where wanted; those of the parameters are written to where they are to be."""
    by_nodes = [
        torch.empty_like(node, memory_format=order) if want else None for node, want in zip(nodes, wanted, strict=True)
    ]
    gradient = c_library.readable(gradient, order=order)
    pointers = (ctypes.c_void_p * len(nodes))(*(None if made is None else made.data_ptr() for made in by_nodes))
    parameters = (made.data_ptr() for made in by_parameters)
    if _function(name, ctypes.c_int, 4)(reading, gradient.data_ptr(), pointers, *parameters):
        raise MemoryError("the scratch memory for the gradients of what nodes are read with could not be allocated")
    return by_nodes


@cache
def _function(name: str, result: type[ctypes.c_int] | None, pointers: int) -> Callable[..., int]:
    """A function of the library, called with the description and so many pointers."""
    found: Callable[..., int] = getattr(c_library.functions(c_library.library().path), name)
    found.argtypes = (ctypes.POINTER(Reading), *[ctypes.c_void_p] * pointers)  # type: ignore[attr-defined]
    found.restype = result  # type: ignore[attr-defined]
    return found


def _described(
    nodes: Sequence[Tensor], channels: int, gain: Tensor, bias: Tensor | None, order: torch.memory_format
) -> tuple[Reading, tuple[object, ...]]:
    """The call's description, and what has to live as long as it."""
    count, batch, (height, width) = len(nodes), len(nodes[0]), nodes[0].shape[2:]
    gain, bias = gain.contiguous(), None if bias is None else bias.contiguous()
    pointers = (ctypes.c_void_p * count)(*(node.data_ptr() for node in nodes))
    widths, images, steps = (
        (ctypes.c_int64 * count)(*sizes)
        for sizes in zip(*((node.shape[1], node.stride(0), node.stride(3)) for node in nodes), strict=True)
    )
    arrays = (pointers, widths, images, steps)
    at = [ctypes.cast(array, ctypes.c_void_p) for array in arrays]
    planes = order == torch.contiguous_format
    reading = Reading(
        *(count, batch, channels, height * width, planes),
        *(*at, gain.data_ptr(), None if bias is None else bias.data_ptr(), c_library.workers()),
    )
    return reading, (*arrays, gain, bias)
