"""Channel-sparse layers that gain links: patterns nest, so that links are only ever added."""

import math
from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from skipweave.errors import SkipweaveError
from skipweave.layers import ChannelSparseConv2d
from skipweave.topology import channel_patterns
from skipweave.transforms.attachments import attached
from skipweave.transforms.sparsify import seed_of_layer

NewWeights = Literal["fresh", "zero"]


def sparse_layers(model: nn.Module) -> dict[str, ChannelSparseConv2d]:
    """The channel-sparse layers of a network, by name."""
    return {name: part for name, part in model.named_modules() if isinstance(part, ChannelSparseConv2d)}


def add_links(
    model: nn.Module, density: float, *, new: NewWeights = "fresh", seed: int = 0
) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """Let the channel-sparse layers of a network read more channels (Changpinyo et al. 2017, section 3.2).

    Every link stays, with its weight. Which ones are added follows from the links that there are and from the seed, so
    a network whose state was stored and loaded in between gains the same. Each weight stays the same `Parameter`, with
    a new and larger tensor; gradients are dropped. Layers that read as many channels already are left alone.

    Batch norms hold statistics of the network before: train some 100 steps, or run through some data, before it is
    evaluated.

    Args:
        model: Changed in place.
        density: Share of its input channels that each output is to read.
        new: Weights of new links: `"fresh"` ones are drawn as at the start of training, He's for the new fan-in (the
            paper's); with `"zero"` the network computes what it did.
        seed: What links and weights are drawn from; torch's own generator is left alone.

    Yields:
        Each weight that grew, and for every old one its place among the new, (out_channels, fan_in): what an optimizer
        keeps of a weight goes there.

    Raises:
        SkipweaveError: The density is not above 0 and at most 1, or a layer's weight is tied to another, parametrized,
            or computed by a hook.
    """
    special = attached(model, new_parameters=False)
    for name in sparse_layers(model):
        if name in special:
            raise SkipweaveError(f"{name} cannot read more channels: {special[name]}")
    for number, layer in enumerate(sparse_layers(model).values()):
        fan_in = channel_patterns.fan_in_of(density, layer.in_channels)
        if fan_in > layer.fan_in:
            yield layer.weight, _widen(layer, fan_in, new, seed_of_layer(seed, number))


def scatter_old(old: Tensor, new: Tensor, places: Tensor) -> Tensor:
    """Put what belongs to old links to its places among the new.

    Args:
        old: (C_out, k, kh, kw).
        new: (C_out, larger k, kh, kw), changed in place.
        places: (C_out, k).
    """
    return new.scatter_(1, places[:, :, None, None].expand_as(old), old)


def match_fan_ins(model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give channel-sparse layers room for just the links of a stored state; what they are comes from the state.

    Args:
        model: Changed in place.
        shapes: Of the state's tensors, by name.
    """
    for name, layer in sparse_layers(model).items():
        weight, index = shapes.get(f"{name}.weight", ()), shapes.get(f"{name}.index", ())
        fits = len(weight) == 4 and len(index) == 2 and index[1] == weight[1] <= layer.in_channels
        if fits and weight[1] != layer.fan_in:
            spare = torch.arange(weight[1], dtype=layer.index.dtype, device=layer.index.device)
            layer.index = spare.expand(len(layer.index), -1).contiguous()
            layer.weight.data = layer.weight.data.new_zeros(len(layer.weight), weight[1], *layer.weight.shape[2:])
            layer.weight.grad = None


def _widen(layer: ChannelSparseConv2d, fan_in: int, new: NewWeights, seed: int) -> Tensor:
    """Let a layer read `fan_in` channels; return where the old ones are among them."""
    before = layer.pattern
    if before.block > 1:
        after = channel_patterns.shared(
            before.in_channels, before.out_channels, fan_in, block=before.block, seed=seed, start=before
        )
    else:
        after = channel_patterns.exact(before.in_channels, before.out_channels, fan_in, seed=seed, start=before)
    old = layer.outputs_index().long()
    device = layer.index.device
    layer.index = torch.tensor(after.sources, device=device)
    places = torch.searchsorted(layer.outputs_index().long(), old)
    weight = torch.zeros(len(layer.weight), fan_in, *layer.weight.shape[2:], dtype=layer.weight.dtype)
    if new == "fresh":
        weight.normal_(std=math.sqrt(2 / math.prod(weight.shape[1:])), generator=torch.Generator().manual_seed(seed))
    layer.weight.data = scatter_old(layer.weight.data, weight.to(device), places)
    layer.weight.grad = None
    return places
