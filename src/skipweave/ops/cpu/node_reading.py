"""Calls of the C library's kernels that read several nodes: concatenated, or summed across layers."""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from skipweave.ops.cpu import c_library


class Reading(ctypes.Structure):
    """`struct reading` of csrc/kernels.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("count", "batch", "channels", "pixels", "planes", "bfloat16")),
        *((name, ctypes.c_void_p) for name in ("node", "width", "image", "step", "scale", "shift")),
        ("workers", c_library.Workers),
    )


def layout(nodes: Sequence[Tensor], *others: Tensor) -> torch.memory_format | None:
    """Memory format in which the library can read these plain tensors and writes its result; None if it cannot.

    It reads maps on the CPU, all in float32 or all in bfloat16: all contiguous up to the stride of the batch dimension,
    or all channels-last up to the strides of batch and pixels. `others` (scale, shift, ...) are float32 and may have
    any strides. It computes in float32; results and gradients of maps have the data type of the nodes.
    """
    if c_library.library().problem or not all(_is_readable(other, torch.float32) for other in others):
        return None
    dtype = nodes[0].dtype
    if dtype not in (torch.float32, torch.bfloat16) or not all(_is_readable(node, dtype) for node in nodes):
        return None
    if all(map(_has_whole_planes, nodes)):
        return torch.contiguous_format
    return torch.channels_last if all(map(_has_whole_pixels, nodes)) else None


def _is_readable(tensor: Tensor, dtype: torch.dtype) -> bool:
    return (
        tensor.dtype == dtype
        and tensor.device.type == "cpu"
        and not tensor.data_ptr() % tensor.element_size()  # memory-mapped tensors may be unaligned
    )


def _has_whole_planes(node: Tensor) -> bool:
    _, _, height, width = node.shape
    return node.stride()[1:] == (height * width, width, 1)


def _has_whole_pixels(node: Tensor) -> bool:
    _, channel, row, pixel = node.stride()
    return channel == 1 and row == node.shape[3] * pixel


def read(nodes: Sequence[Tensor], scale: Tensor, shift: Tensor, order: torch.memory_format) -> Tensor:
    """`concat_read` of nodes in the memory format given by `layout`."""
    batch, _, *size = nodes[0].shape
    activated = torch.empty(batch, len(scale), *size, dtype=nodes[0].dtype, device="cpu", memory_format=order)
    reading, _kept = _described(nodes, len(scale), scale, shift, order)
    _function("skipweave_read", None, 1)(reading, activated.data_ptr())
    return activated


def read_gradients(
    grad_output: Tensor,
    nodes: Sequence[Tensor],
    scale: Tensor,
    shift: Tensor,
    needs_grad: Sequence[bool],
    order: torch.memory_format,
) -> tuple[list[Tensor | None], Tensor, Tensor]:
    """Gradients of `read` with respect to the nodes (where needed), scale and shift."""
    grad_scale, grad_shift = torch.empty_like(scale), torch.empty_like(shift)
    reading, _kept = _described(nodes, len(scale), scale, shift, order)
    grad_nodes = _gradients(
        "skipweave_read_gradients", reading, grad_output, nodes, needs_grad, order, grad_scale, grad_shift
    )
    return grad_nodes, grad_scale, grad_shift


def cross_sum(nodes: Sequence[Tensor], weight: Tensor, bias: Tensor, order: torch.memory_format) -> Tensor:
    """`cross_layer` of nodes of one shape in the memory format given by `layout`."""
    total = torch.empty_like(nodes[0], memory_format=order)
    reading, _kept = _described(nodes, weight.shape[1], weight, bias, order)
    _check(_function("skipweave_cross", ctypes.c_int, 1)(reading, total.data_ptr()))
    return total


def cross_gradients(
    grad_output: Tensor, nodes: Sequence[Tensor], weight: Tensor, needs_grad: Sequence[bool], order: torch.memory_format
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """Gradients of `cross_sum` with respect to weight, bias and the nodes (where needed)."""
    grad_weight, grad_bias = weight.new_empty(weight.shape), weight.new_empty(weight.shape[1])
    reading, _kept = _described(nodes, len(grad_bias), weight, None, order)
    grad_nodes = _gradients(
        "skipweave_cross_gradients", reading, grad_output, nodes, needs_grad, order, grad_weight, grad_bias
    )
    return grad_weight, grad_bias, grad_nodes


def _gradients(
    name: str,
    reading: Reading,
    grad_output: Tensor,
    nodes: Sequence[Tensor],
    needs_grad: Sequence[bool],
    order: torch.memory_format,
    *grad_parameters: Tensor,
) -> list[Tensor | None]:
    """Compute the gradients of the nodes (where needed), and write those of the parameters into `grad_parameters`."""
    grad_nodes = [
        torch.empty_like(node, memory_format=order) if needed else None
        for node, needed in zip(nodes, needs_grad, strict=True)
    ]
    grad_output = c_library.readable(grad_output, nodes[0].dtype, order)
    pointers = (ctypes.c_void_p * len(nodes))(*(None if made is None else made.data_ptr() for made in grad_nodes))
    parameters = (made.data_ptr() for made in grad_parameters)
    _check(_function(name, ctypes.c_int, 4)(reading, grad_output.data_ptr(), pointers, *parameters))
    return grad_nodes


def _check(failed: int) -> None:
    if failed:
        raise MemoryError("scratch memory for reading nodes could not be allocated")


@cache
def _function(name: str, result: type[ctypes.c_int] | None, pointers: int) -> Callable[..., int]:
    """A function of the library, called with a `Reading` and this number of pointers."""
    found: Callable[..., int] = getattr(c_library.functions(c_library.library().path), name)
    found.argtypes = (ctypes.POINTER(Reading), *[ctypes.c_void_p] * pointers)  # type: ignore[attr-defined]
    found.restype = result  # type: ignore[attr-defined]
    return found


def _described(
    nodes: Sequence[Tensor], channels: int, scale: Tensor, shift: Tensor | None, order: torch.memory_format
) -> tuple[Reading, tuple[object, ...]]:
    """The description of a call, and the objects that must outlive it."""
    count, batch, (height, width) = len(nodes), len(nodes[0]), nodes[0].shape[2:]
    scale, shift = scale.contiguous(), None if shift is None else shift.contiguous()
    pointers = (ctypes.c_void_p * count)(*(node.data_ptr() for node in nodes))
    widths, images, steps = (
        (ctypes.c_int64 * count)(*sizes)
        for sizes in zip(*((node.shape[1], node.stride(0), node.stride(3)) for node in nodes), strict=True)
    )
    arrays = (pointers, widths, images, steps)
    at = [ctypes.cast(array, ctypes.c_void_p) for array in arrays]
    planes, bfloat16 = order == torch.contiguous_format, nodes[0].dtype == torch.bfloat16
    reading = Reading(
        *(count, batch, channels, height * width, planes, bfloat16),
        *(*at, scale.data_ptr(), None if shift is None else shift.data_ptr(), c_library.workers()),
    )
    return reading, (*arrays, scale, shift)
