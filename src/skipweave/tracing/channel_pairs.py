"""Pairs of channels of two tensors, one of which is computed from the other, determined by gradients."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pairs = NDArray[np.int64]
"""Channels of one tensor and the channels of another that they become, (2, pairs), in ascending order."""

_EXACT = 0.01  # tolerance of a channel index
_WEAK = 0.5  # of a channel's largest effect; smaller effects, as of a normalization across channels, are ignored


def channel_pairs(x: Tensor, dim: int, leaves: Sequence[tuple[Tensor, int]]) -> Iterator[tuple[int, Pairs]]:
    """Find the pairs of channels of leaves and of a tensor that was computed from them.

    The gradient of a random sum over the tensor shows which elements of a leaf it depends on. If such an element
    contributes to a single channel, the ratio to the gradient of the sum weighted by channel index is that index; if it
    contributes to several, the channels are bisected.

    Args:
        x: A tensor with gradients.
        dim: Its channel dimension.
        leaves: Leaf tensors with their channel dimensions.

    Yields:
        The index of a leaf, and its pairs, if there are any.
    """
    if not x.requires_grad:
        return
    weights, even = _weights(x, spread=1.0), _weights(x, spread=0.2)
    numbers = torch.arange(x.shape[dim], dtype=torch.float64).view(-1, *[1] * (x.dim() - 1 - dim % x.dim()))
    waiting, split = [(0, x.shape[dim])], False
    found: dict[int, list[NDArray[np.float64]]] = {}
    while waiting:
        start, end = waiting.pop()
        single = end - start == 1  # then only the sizes of effects matter
        part = ((even if single else weights) * x).narrow(dim, start, end - start)
        ways = _ways(part, numbers.narrow(0, start, end - start), leaves, single=single)
        if ways is None:
            middle, split = (start + end) // 2, True
            waiting += [(start, middle), (middle, end)]
            continue
        for leaf, way in ways.items():
            found.setdefault(leaf, []).append(way)
    for leaf, several in found.items():
        channels, places, effects = np.concatenate(several, axis=1)
        if split:
            largest = np.zeros(int(channels.max()) + 1)
            np.maximum.at(largest, channels.astype(int), effects)
            strong = effects >= _WEAK * largest[channels.astype(int)]
            channels, places = channels[strong], places[strong]
        yield leaf, np.unique(np.stack([channels, places]).astype(np.int64), axis=1)


def reached_channels(x: Tensor, leaves: Sequence[tuple[Tensor, int]]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Find the channels of leaves on which a tensor depends; yields the index of a leaf and a mask of its channels."""
    for leaf, gradient in _gradients(_weights(x, spread=1.0) * x, leaves):
        effects = _by_channel(_finite(gradient), leaves[leaf][1])
        if effects.any():
            yield leaf, (effects > 0).numpy()


def seen_channels(x: Tensor, leaves: Sequence[tuple[Tensor, int]]) -> Iterator[tuple[int, Pairs]]:
    """Find the channels of leaves on which a tensor depends, as pairs with channel 0."""
    if x.requires_grad:
        for leaf, reached in reached_channels(x, leaves):
            yield leaf, np.stack([reached.nonzero()[0], np.zeros(reached.sum(), dtype=np.int64)])


def _weights(x: Tensor, spread: float) -> Tensor:
    """Random numbers around 1 in the shape of a tensor, so that effects do not cancel."""
    numbers = torch.rand(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return 1 + spread * (numbers - 0.5)


def _ways(
    part: Tensor, numbers: Tensor, leaves: Sequence[tuple[Tensor, int]], *, single: bool
) -> dict[int, NDArray[np.float64]] | None:
    """Channels, the channels that they become and the effects, (3, pairs) per leaf; None if that is ambiguous."""
    found = {}
    weighted = dict(_gradients(part * numbers, leaves))
    for leaf, once in _gradients(part, leaves):
        reaches = _finite(once) != 0
        if not reaches.any():
            continue
        places = torch.where(reaches, weighted[leaf] / once, torch.nan) if not single else numbers.expand_as(once)
        if not single and ((places - places.round()).abs() > _EXACT).any():
            return None
        found[leaf] = _collect(places.round(), _finite(once), reaches, leaves[leaf][1])
    return found


def _collect(places: Tensor, once: Tensor, reaches: Tensor, dim: int) -> NDArray[np.float64]:
    dims = [other for other in range(once.dim()) if other != dim % once.dim()]
    low = places.where(reaches, torch.inf).amin(dims)
    high = places.where(reaches, -torch.inf).amax(dims)
    same = low == high
    ways = [torch.stack([same.nonzero().flatten(), low[same], _by_channel(once, dim)[same]])]
    for channel in (low < high).nonzero().flatten().tolist():
        at = places.select(dim, channel)[reaches.select(dim, channel)]
        effects = once.select(dim, channel)[reaches.select(dim, channel)].abs()
        several, inverse = at.unique(return_inverse=True)
        sums = torch.zeros_like(several).index_add_(0, inverse, effects)
        ways.append(torch.stack([torch.full_like(several, channel), several, sums]))
    made: NDArray[np.float64] = torch.cat(ways, dim=1).numpy()
    return made


def _gradients(x: Tensor, leaves: Sequence[tuple[Tensor, int]]) -> Iterator[tuple[int, Tensor]]:
    gradients = torch.autograd.grad(x.sum(), [leaf for leaf, _ in leaves], retain_graph=True, allow_unused=True)
    return ((place, gradient) for place, gradient in enumerate(gradients) if gradient is not None)


def _finite(gradient: Tensor) -> Tensor:
    return gradient.nan_to_num(0.0, 0.0, 0.0)


def _by_channel(gradient: Tensor, dim: int) -> Tensor:
    """Sum of absolute values of each channel."""
    return gradient.abs().sum([other for other in range(gradient.dim()) if other != dim % gradient.dim()])
