"""Densification: add links to channel-sparse layers. Patterns are nested, so existing links are kept."""

import math
from collections.abc import Iterator, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from skipweave.layers import ChannelSparseConv2d
from skipweave.topology import ChannelPattern, channel_patterns
from skipweave.topology.channel_patterns import Choice
from skipweave.transforms.argument_checks import check_seed
from skipweave.transforms.attachments import attached
from skipweave.transforms.compression.sparsify import seed_of_layer
from skipweave_config.errors import SkipweaveError

NewWeights = Literal["fresh", "zero"]


def sparse_layers(model: nn.Module) -> dict[str, ChannelSparseConv2d]:
    """The channel-sparse layers of a network, by name."""
    return {name: part for name, part in model.named_modules() if isinstance(part, ChannelSparseConv2d)}


def draw_links(
    model: nn.Module, fan_ins: Mapping[str, int], *, choice: Choice = "balanced", seed: int = 0
) -> dict[str, ChannelPattern]:
    """Draw additional links of the channel-sparse layers of a network, which is not modified.

    The new links are determined by the existing ones and the seed, also after saving and loading the network.

    Args:
        model: The network.
        fan_ins: Inputs that each output will read, by layer name; layers that read as many already are left out.
        choice: `"balanced"` (default) or `"uniform"`, as for `skipweave.sparsify`.
        seed: Seed of the links, at least 0; torch's default generator is not used.

    Returns:
        Patterns of the layers with more links, by name; they contain the existing links.

    Raises:
        SkipweaveError: A fan-in is larger than the number of input channels, or the seed is invalid.
    """
    check_seed(seed)
    drawn = {}
    for number, (name, layer) in enumerate(sparse_layers(model).items()):
        if fan_ins.get(name, 0) > layer.fan_in:
            before = layer.pattern
            drawn[name] = channel_patterns.shared(
                before.in_channels,
                before.out_channels,
                fan_ins[name],
                block=before.block,
                choice=choice,
                seed=seed_of_layer(seed, number),
                start=before,
            )
    return drawn


def add_links(
    model: nn.Module, patterns: Mapping[str, ChannelPattern], *, new: NewWeights = "fresh", seed: int = 0
) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """Add links to the channel-sparse layers of a network (Changpinyo et al. 2017, section 3.2.1).

    Existing links keep their weights. Each weight remains the same `Parameter`, with a larger tensor; gradients are
    dropped.

    Batch norms have the statistics of the sparser network: train for some 100 steps before evaluation.

    Args:
        model: The network, modified in place.
        patterns: Patterns with the existing links and more, by layer name (`draw_links`).
        new: Weights of new links: `"fresh"` (default) initializes them as in He et al. with the new fan-in, as in the
            paper; with `"zero"` the outputs do not change.
        seed: Seed of the weights, at least 0; torch's default generator is not used.

    Yields:
        Each enlarged weight, and the positions of the old links among the new ones, (out_channels, fan_in), for the
        state of an optimizer.

    Raises:
        SkipweaveError: A layer's weight is tied, parametrized or computed by a hook, or an argument is invalid.
    """
    check_seed(seed)
    if new not in get_args(NewWeights):
        raise SkipweaveError(f"new is {new!r}: expected one of {', '.join(get_args(NewWeights))}")
    special = attached(model, new_parameters=False)
    for name in sparse_layers(model):
        if name in special:
            raise SkipweaveError(f"links cannot be added to {name}: {special[name]}")
    for number, (name, layer) in enumerate(sparse_layers(model).items()):
        if name in patterns:
            yield layer.weight, _widen(layer, patterns[name], new, seed_of_layer(seed, number))


def scatter_old(old: Tensor, new: Tensor, places: Tensor) -> Tensor:
    """Copy values of old links to their positions among the new ones.

    Args:
        old: Values (C_out, k, kh, kw).
        new: Values (C_out, larger k, kh, kw), modified in place.
        places: Positions (C_out, k).
    """
    return new.scatter_(1, places[:, :, None, None].expand_as(old), old)


def match_fan_ins(model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Resize channel-sparse layers to the fan-ins of a state dict that will be loaded.

    Args:
        model: The network, modified in place.
        shapes: Shapes of the tensors of the state dict, by name.

    Returns:
        Whether any layer was resized.
    """
    resized = False
    for name, layer in sparse_layers(model).items():
        weight, index = shapes.get(f"{name}.weight", ()), shapes.get(f"{name}.index", ())
        fits = len(weight) == 4 and len(index) == 2 and index[1] == weight[1] <= layer.in_channels
        if fits and weight[1] != layer.fan_in:
            spare = torch.arange(weight[1], dtype=layer.index.dtype, device=layer.index.device)
            layer.index = spare.expand(len(layer.index), -1).contiguous()
            layer.weight.data = layer.weight.data.new_zeros(len(layer.weight), weight[1], *layer.weight.shape[2:])
            layer.weight.grad = None
            resized = True
    return resized


def _widen(layer: ChannelSparseConv2d, pattern: ChannelPattern, new: NewWeights, seed: int) -> Tensor:
    """Extend a layer to a pattern that contains its own; return the positions of the old links."""
    old = layer.outputs_index().long()
    device = layer.index.device
    layer.index = torch.tensor(pattern.sources, device=device)
    places = torch.searchsorted(layer.outputs_index().long(), old)
    weight = torch.zeros(len(layer.weight), pattern.fan_in, *layer.weight.shape[2:], dtype=layer.weight.dtype)
    if new == "fresh":
        weight.normal_(std=math.sqrt(2 / math.prod(weight.shape[1:])), generator=torch.Generator().manual_seed(seed))
    layer.weight.data = scatter_old(layer.weight.data, weight.to(device), places)
    layer.weight.grad = None
    return places
