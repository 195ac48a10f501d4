"""Valid image sizes of a network, found by forward passes on the meta device."""

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from skipweave.tracing.copies import on_meta
from skipweave.tracing.example_inputs import InputSize, checked_input_size
from skipweave.tracing.replicas import FastMetaNorms
from skipweave_config.errors import SkipweaveError

_LARGEST = 2048  # longest side to try


def check_image_size(model: nn.Module, shape: InputSize, *, batch: int = 1, training: bool = False) -> None:
    """Check that a network accepts images of a size.

    A network that accepts no images at all on the meta device, such as one that depends on values, passes.

    Args:
        model: Network on any device, the meta device included; it is not changed.
        shape: (C, H, W) of the images.
        batch: Batch size. In training, batch norm needs more than one value per channel, so a batch of one image fails
            where a feature map is 1x1.
        training: Whether to check training mode.

    Raises:
        SkipweaveError: The network does not accept such images; the message has the smallest size that works.
    """
    twin = on_meta(model).train(training)
    if _runs(twin, batch, shape):
        return
    name, (channels, height, width) = name_of(model), shape
    size = f"{height}x{width} pixels"
    smallest = _smallest_side(lambda side: _runs(twin, batch, (channels, side, side)), min(height, width))
    if batch == 1 and training and _runs(twin, 2, shape):
        larger = f", or images of at least {smallest}x{smallest}" if smallest else ""
        raise SkipweaveError(
            f"{name} cannot be trained on batches of one image of {size}, as batch norm gets one value per channel: "
            f"expected batches of at least 2{larger}"
        )
    if smallest and _runs(twin, batch, (channels, smallest + 1, smallest + 1)):  # and not only multiples of something
        raise SkipweaveError(f"{name} cannot take images of {size}: expected at least {smallest}x{smallest}")
    own = _own_size(model) or shape
    if _runs(twin, batch, (channels, *own[1:])):
        raise SkipweaveError(f"{name} cannot take images of {size}: expected its input size, {own[1]}x{own[2]}")
    if smallest:
        raise SkipweaveError(f"{name} cannot take images of {size}: expected {smallest}x{smallest}, for example")
    if _runs(twin, batch, own):
        raise SkipweaveError(f"{name} cannot take images of size {shape}: expected {own[0]} channels")


def name_of(model: nn.Module) -> str:
    """Name of a network in timm's registry, or else its class."""
    return (getattr(model, "pretrained_cfg", None) or {}).get("architecture") or type(model).__name__


def _own_size(model: nn.Module) -> InputSize | None:
    """(C, H, W) of the network's `pretrained_cfg`, if it has one."""
    try:
        return checked_input_size(model, None)
    except SkipweaveError:
        return None


def _runs(twin: nn.Module, batch: int, shape: InputSize) -> bool:
    """Whether a network on the meta device accepts such images."""
    dtype: Any = next((parameter.dtype for parameter in twin.parameters()), torch.float32)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), FastMetaNorms():
            twin(torch.empty(batch, *shape, device="meta", dtype=dtype))
    except Exception:  # networks of other libraries raise any exception
        return False
    return True


def _smallest_side(works: Callable[[int], bool], failed: int) -> int | None:
    """Smallest side above one that failed from which a network works; None if there is none up to 2048."""
    side = 2 * failed
    while not works(side):
        if side >= _LARGEST:
            return None
        side *= 2
    return bisect_left(range(side), True, lo=max(side // 2, failed + 1), key=works)
