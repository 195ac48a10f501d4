"""Calls of the C library's reading of nodes."""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor, nn

from skipweave.ops import native_library


class Reading(ctypes.Structure):
    """`reading` of native/kernels.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("count", "batch", "channels", "pixels")),
        *((name, ctypes.c_void_p) for name in ("node", "width", "image", "gain", "bias")),
        ("workers", native_library.Workers),
    )


def can_read(nodes: Sequence[Tensor], gain: Tensor, bias: Tensor) -> bool:
    """Whether the library can read these: float32 maps on the CPU with whole channels, one after the other."""
    if native_library.library().problem or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    return all(map(_is_plain, (gain, bias, *nodes))) and all(map(_has_whole_channels, nodes))


def _is_plain(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu" and type(tensor) in (Tensor, nn.Parameter)


def _has_whole_channels(node: Tensor) -> bool:
    _, _, height, width = node.shape
    return node.stride()[1:] == (height * width, width, 1)


def read(nodes: Sequence[Tensor], gain: Tensor, bias: Tensor) -> Tensor:
    """`concat_read` of such nodes."""
    batch, _, *size = nodes[0].shape
    activated = nodes[0].new_empty(batch, len(gain), *size)
    reading, _kept = _described(nodes, gain, bias)
    _functions()[0](reading, activated.data_ptr())
    return activated


def read_gradients(
    gradient: Tensor, nodes: Sequence[Tensor], gain: Tensor, bias: Tensor, wanted: Sequence[bool]
) -> tuple[list[Tensor | None], Tensor, Tensor]:
    """Gradients of the nodes, where wanted, of gains and of biases, from that of `read`."""
    by_nodes = [
        torch.empty_like(node, memory_format=torch.contiguous_format) if want else None
        for node, want in zip(nodes, wanted, strict=True)
    ]
    by_gain, by_bias = torch.empty_like(gain), torch.empty_like(bias)
    gradient = gradient.contiguous()
    reading, _kept = _described(nodes, gain, bias)
    pointers = (ctypes.c_void_p * len(nodes))(*(None if made is None else made.data_ptr() for made in by_nodes))
    _functions()[1](reading, gradient.data_ptr(), pointers, by_gain.data_ptr(), by_bias.data_ptr())
    return by_nodes, by_gain, by_bias


@cache
def _functions() -> tuple[Callable[..., None], Callable[..., None]]:
    found = native_library.functions(native_library.library().path)
    reading, pointer = ctypes.POINTER(Reading), ctypes.c_void_p
    forward, backward = found.skipweave_read, found.skipweave_read_gradients
    forward.argtypes, backward.argtypes = (reading, pointer), (reading, *[pointer] * 4)
    forward.restype = backward.restype = None
    return forward, backward


def _described(nodes: Sequence[Tensor], gain: Tensor, bias: Tensor) -> tuple[Reading, tuple[object, ...]]:
    """The call's description, and what has to live as long as it."""
    count, batch, (height, width) = len(nodes), len(nodes[0]), nodes[0].shape[2:]
    gain, bias = gain.contiguous(), bias.contiguous()
    pointers = (ctypes.c_void_p * count)(*(node.data_ptr() for node in nodes))
    widths = (ctypes.c_int64 * count)(*(node.shape[1] for node in nodes))
    images = (ctypes.c_int64 * count)(*(node.stride(0) for node in nodes))
    at = [ctypes.cast(array, ctypes.c_void_p) for array in (pointers, widths, images)]
    reading = Reading(
        count, batch, len(gain), height * width, *at, gain.data_ptr(), bias.data_ptr(), native_library.workers()
    )
    return reading, (pointers, widths, images, gain, bias)
