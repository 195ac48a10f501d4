"""Densification: add links to channel-sparse layers. Patterns are nested, so existing links are kept."""

import math
from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from skipweave.layers import ChannelSparseConv2d
from skipweave.topology import channel_patterns
from skipweave.transforms.attachments import attached
from skipweave.transforms.compression.sparsify import BLOCK_MULTIPLE, seed_of_layer
from skipweave_config.errors import SkipweaveError

NewWeights = Literal["fresh", "zero"]


def sparse_layers(model: nn.Module) -> dict[str, ChannelSparseConv2d]:
    """The channel-sparse layers of a network, by name."""
    return {name: part for name, part in model.named_modules() if isinstance(part, ChannelSparseConv2d)}


def add_links(
    model: nn.Module, density: float, *, new: NewWeights = "fresh", seed: int = 0
) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """Add links to the channel-sparse layers of a network (Changpinyo et al. 2017, section 3.2).

    Existing links keep their weights. The new links are determined by the existing ones and the seed, also after
    saving and loading the network. Each weight remains the same `Parameter`, with a larger tensor; gradients are
    dropped. Layers with at least this density do not change. Fan-ins of blocks that are multiples of 16 remain so.

    Batch norms have the statistics of the sparser network: train for some 100 steps before evaluation.

    Args:
        model: The network, modified in place.
        density: Fraction of the input channels that each output will read.
        new: Weights of new links: `"fresh"` (default) initializes them as in He et al. with the new fan-in, as in the
            paper; with `"zero"` the outputs do not change.
        seed: Seed of links and weights; torch's default generator is not used.

    Yields:
        Each enlarged weight, and the positions of the old links among the new ones, (out_channels, fan_in), for the
        state of an optimizer.

    Raises:
        SkipweaveError: The density is not in (0, 1], or a layer's weight is tied, parametrized or computed by a hook.
    """
    special = attached(model, new_parameters=False)
    for name in sparse_layers(model):
        if name in special:
            raise SkipweaveError(f"links cannot be added to {name}: {special[name]}")
    for number, layer in enumerate(sparse_layers(model).values()):
        fan_in = _fan_in(layer, density)
        if fan_in > layer.fan_in:
            yield layer.weight, _widen(layer, fan_in, new, seed_of_layer(seed, number))


def scatter_old(old: Tensor, new: Tensor, places: Tensor) -> Tensor:
    """Copy values of old links to their positions among the new ones.

    Args:
        old: Values (C_out, k, kh, kw).
        new: Values (C_out, larger k, kh, kw), modified in place.
        places: Positions (C_out, k).
    """
    return new.scatter_(1, places[:, :, None, None].expand_as(old), old)


def match_fan_ins(model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Resize channel-sparse layers to the fan-ins of a state dict that will be loaded.

    Args:
        model: The network, modified in place.
        shapes: Shapes of the tensors of the state dict, by name.
    """
    for name, layer in sparse_layers(model).items():
        weight, index = shapes.get(f"{name}.weight", ()), shapes.get(f"{name}.index", ())
        fits = len(weight) == 4 and len(index) == 2 and index[1] == weight[1] <= layer.in_channels
        if fits and weight[1] != layer.fan_in:
            spare = torch.arange(weight[1], dtype=layer.index.dtype, device=layer.index.device)
            layer.index = spare.expand(len(layer.index), -1).contiguous()
            layer.weight.data = layer.weight.data.new_zeros(len(layer.weight), weight[1], *layer.weight.shape[2:])
            layer.weight.grad = None


def _fan_in(layer: ChannelSparseConv2d, density: float) -> int:
    multiple = BLOCK_MULTIPLE if layer.block > 1 and layer.fan_in % BLOCK_MULTIPLE == 0 else 1
    exact = channel_patterns.fan_in_of(density, layer.in_channels)
    return min(layer.in_channels, -(-exact // multiple) * multiple)


def _widen(layer: ChannelSparseConv2d, fan_in: int, new: NewWeights, seed: int) -> Tensor:
    """Extend a layer to `fan_in` links per output; return the positions of the old links."""
    before = layer.pattern
    after = channel_patterns.shared(
        before.in_channels, before.out_channels, fan_in, block=before.block, seed=seed, start=before
    )
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
