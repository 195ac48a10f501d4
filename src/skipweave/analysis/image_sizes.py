"""Which images a network can take, found by dry runs on the meta device, where nothing is computed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from skipweave.errors import SkipweaveError
from skipweave.tracing.copies import on_meta
from skipweave.tracing.example_inputs import InputSize, checked_input_size
from skipweave.tracing.replicas import QuickNorms

_LARGEST = 2048  # the longest side that is tried


def check_images(model: nn.Module, shape: InputSize, *, batch: int = 1, training: bool = False) -> None:
    """Check that a network can take images, and say which it can take otherwise.

    A network that takes no images whatever on the meta device, such as one that looks at values, is let through.

    Args:
        model: Any network; it may be on the meta device, and is not changed.
        shape: (C, H, W) of the images.
        batch: Images at once. In training a batch norm cannot normalize one value a channel, which is what a batch of
            one image leaves of a 1x1 map.
        training: Whether it is to be trained on them.

    Raises:
        SkipweaveError: It cannot: one line with its name, the size and the least size that works.
    """
    twin = on_meta(model).train(training)
    if _runs(twin, batch, shape):
        return
    name, (channels, height, width) = name_of(model), shape
    size = f"{height}x{width} pixels"
    least = _least_side(lambda side: _runs(twin, batch, (channels, side, side)), min(height, width))
    if batch == 1 and training and _runs(twin, 2, shape):
        larger = f", or images of at least {least}x{least}" if least else ""
        raise SkipweaveError(
            f"{name} cannot be trained on batches of one image of {size}, of which a batch norm gets one value a "
            f"channel: give batches of at least 2{larger}"
        )
    if least and _runs(twin, batch, (channels, least + 1, least + 1)):  # and not only multiples of something
        raise SkipweaveError(f"{name} cannot take images of {size}: it needs at least {least}x{least}")
    own = _own_size(model) or shape
    if _runs(twin, batch, (channels, *own[1:])):
        raise SkipweaveError(f"{name} cannot take images of {size}: expected its own size, {own[1]}x{own[2]}")
    if least:
        raise SkipweaveError(f"{name} cannot take images of {size}: it takes {least}x{least}, for instance")
    if _runs(twin, batch, own):
        raise SkipweaveError(f"{name} cannot take images of size {shape}: expected {own[0]} channels")


def name_of(model: nn.Module) -> str:
    """The name by which timm knows a network, or else its class."""
    return (getattr(model, "pretrained_cfg", None) or {}).get("architecture") or type(model).__name__


def _own_size(model: nn.Module) -> InputSize | None:
    """(C, H, W) of the images that the network is made for, if it says so."""
    try:
        return checked_input_size(model, None)
    except SkipweaveError:
        return None


def _runs(twin: nn.Module, batch: int, shape: InputSize) -> bool:
    """Whether a network on the meta device takes such images."""
    dtype: Any = next((parameter.dtype for parameter in twin.parameters()), torch.float32)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), QuickNorms():
            twin(torch.empty(batch, *shape, device="meta", dtype=dtype))
    except Exception:  # networks of other libraries fail each in their own way
        return False
    return True


def _least_side(works: Callable[[int], bool], failed: int) -> int | None:
    """The least side above one that fails from which on a network works; None if there is none up to 2048."""
    side = failed
    while not works(side):
        failed, side = side, 2 * side
        if failed >= _LARGEST:
            return None
    while side - failed > 1:
        middle = (failed + side) // 2
        failed, side = (failed, middle) if works(middle) else (middle, side)
    return side
