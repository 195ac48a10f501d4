"""`sparsify`: replace the convolutions of a network by channel-sparse ones."""

import math
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from skipweave.layers import ChannelSparseConv2d
from skipweave.topology import ChannelPattern, channel_patterns
from skipweave.topology.channel_patterns import Choice, PatternName
from skipweave.tracing.channel_graph import ChannelGraph, channel_graph
from skipweave.tracing.channel_layers import PRODUCERS
from skipweave.tracing.copies import copied
from skipweave.tracing.dataflow import data_flows
from skipweave.tracing.example_inputs import InputSize
from skipweave.tracing.replicas import Trials, trials_of
from skipweave.tracing.unsupported_networks import check_supported
from skipweave.transforms.attachments import attached, carry_over, listed, own_tensors, replace_modules
from skipweave.transforms.compression.compressed_model import CompressedModel, compare
from skipweave.transforms.compression.path_rule import apply_path_rule
from skipweave.transforms.verification import Reference
from skipweave_config.errors import SkipweaveError

ROUNDINGS: Mapping[str, Callable[[Fraction], int]] = {
    "ceil": lambda exact: max(1, math.ceil(exact)),
    "above": lambda exact: math.floor(exact) + 1,
}
"""Rounding of density times input channels: up, or to the next larger integer, which reproduces Table 1 best."""

#: Fan-ins of blocks are multiples of this number (docs/performance.md).
BLOCK_MULTIPLE = 16


def sparsify(
    model: nn.Module,
    density: float = 0.1,
    *,
    pattern: PatternName = "exact",
    choice: Choice = "balanced",
    block: int | None = None,
    rounding: str = "ceil",
    multiple: int | None = None,
    path_rule: bool = True,
    seed: int | None = None,
    keep: Sequence[str] | None = None,
    carry_weights: bool = False,
    input_size: InputSize | None = None,
    example_inputs: Any = None,
) -> CompressedModel:
    """Replace the convolutions of a network by channel-sparse ones (Changpinyo et al. 2017, section 3).

    Convolutions become `skipweave.layers.ChannelSparseConv2d`, in which each output reads few input channels, drawn at
    random once. Linear layers, depthwise and grouped convolutions, subclasses of `Conv2d`, convolutions that run only
    in training, and those named by `keep` are kept. Every channel has a reader, so that every link lies on a path from
    the image to the output (the paper's path rule): links to unread channels replace others, which keeps all fan-ins.
    Only layers with too few links for their input channels get additional ones, which the report lists.

    The paper's hybrid is `sparsify(depth_multiplier(model, 0.5).model, 0.01)`.

    The patterns are buffers, so a state dict loads into any network that was sparsified with the same arguments from
    any seed. Weights are drawn from torch's default generator, and so is the seed if none is given.

    Deviation: the paper draws the inputs of every output independently (`choice="uniform"`). The default, balanced
    patterns, leave far fewer channels unread.

    Args:
        model: Any network of convolutions. It is copied, not modified.
        density: Fraction of the input channels that each output reads, above 0 and at most 1.
        pattern: `"exact"` (default; separate inputs for every output), `"block"` (consecutive outputs share their
            inputs) or `"grouped"` (a grouped convolution after a random permutation).
        choice: `"balanced"` (default) or `"uniform"`.
        block: Largest number of outputs per block, for `"block"`; None is no limit. Blocks of a layer are the largest
            that divide its outputs and leave no input unread.
        rounding: `"ceil"` (default), max(1, ceil(density c)), or `"above"`, floor(density c) + 1, which reproduces
            Table 1 best.
        multiple: Fan-ins are rounded up to a multiple of this number; None is 16 for `"block"`, whose layers inference
            engines run as grouped convolutions with vectors of that length, and 1 otherwise.
        path_rule: Whether patterns are modified so that every channel has a reader.
        seed: Seed of the patterns; None draws one.
        keep: Names of convolutions to keep, optionally with wildcards, such as `"features.0"` or `"layer4.*"`; None is
            the first one that runs.
        carry_weights: Whether the weights of the remaining links are copied, or all weights are initialized (He, by
            fan-in).
        input_size: Channels, height and width of an image; the default is that of the model's `pretrained_cfg`.
        example_inputs: Arguments of one call, instead of a size: a tuple, a mapping of keyword arguments, or the only
            argument.

    Raises:
        SkipweaveError: An argument is invalid, the network is not supported, there is nothing to replace, or structure,
            shapes or data types of the outputs would change.
    """
    check_density(density, rounding, multiple, block)
    check_supported(model)
    fan_in = _fan_in_rule(density, rounding, multiple or (BLOCK_MULTIPLE if pattern == "block" else 1))
    if done := [name for name, part in model.named_modules() if isinstance(part, ChannelSparseConv2d)]:
        raise SkipweaveError(f"{done[0]} is channel-sparse already: sparsify the original network")
    trials = trials_of(model, input_size, example_inputs)
    reference = Reference(model, trials, values=False)
    graph = channel_graph(model, trials)
    reasons = _kept(model, graph, trials, keep)
    convs = {name: part for name, part in model.named_modules() if isinstance(part, nn.Conv2d) and name not in reasons}
    if not convs:
        raise SkipweaveError(f"the network has no convolution to make sparse ({listed(reasons, 'it has none')})")
    root = int(torch.randint(2**31, (), device="cpu")) if seed is None else seed
    drawers = {
        name: partial(_draw, name, conv, pattern=pattern, choice=choice, block=block, seed=seed_of_layer(root, number))
        for number, (name, conv) in enumerate(convs.items())
    }
    drawn = {name: drawers[name](fan_in(conv.in_channels)) for name, conv in convs.items()}
    patterns = drawn
    if path_rule and pattern != "grouped":  # groups read all inputs
        patterns = apply_path_rule(graph, drawn, lambda name, before: drawers[name](before.fan_in + 1, start=before))
    sparse = copied(model)
    _replace(sparse, patterns, carry_weights)
    reference.require(sparse, "the sparse network", "Keep layers that the network treats specially: keep=[...].")
    changes = {name: _change(drawn[name], patterns[name]) for name in patterns}
    return compare(model, sparse, {**reasons, **changes}, trials)


def seed_of_layer(seed: int, number: int) -> int:
    """Seed of the pattern of a network's sparse layer with this index."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def check_density(
    density: float, rounding: str = "ceil", multiple: int | None = None, block: int | None = None, **_: object
) -> None:
    """Check the arguments of `sparsify` that can be checked without a network.

    Raises:
        SkipweaveError: An argument is invalid.
    """
    if isinstance(density, bool) or not isinstance(density, int | float) or not 0 < density <= 1:
        raise SkipweaveError(f"density is {density!r}: expected a number with 0 < density <= 1")
    if rounding not in list(ROUNDINGS):
        raise SkipweaveError(f"rounding is {rounding!r}: expected one of {', '.join(ROUNDINGS)}")
    for name, value in (("multiple", multiple), ("block", block)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise SkipweaveError(f"{name} is {value!r}: expected an integer of at least 1")


def _fan_in_rule(density: float, rounding: str, multiple: int) -> Callable[[int], int]:
    exact = Fraction(str(density))  # exactly 0.1, not the nearest binary number
    return lambda channels: min(channels, -(-ROUNDINGS[rounding](exact * channels) // multiple) * multiple)


def _kept(model: nn.Module, graph: ChannelGraph, trials: Trials, keep: Sequence[str] | None) -> dict[str, str]:
    """Why convolutions are kept, by name."""
    parts = {name: part for name, part in model.named_modules() if isinstance(part, _ConvNd)}
    convs = [name for name, part in parts.items() if isinstance(part, nn.Conv2d)]
    running = [name for name in graph.layers if name in convs]
    asked = running[:1] if keep is None else _named(convs, keep)
    flows = data_flows(model, trials, lambda part: isinstance(part, PRODUCERS), methods=("forward",), variants=False)
    shared = {name for flow in flows for name in flow.shared}
    special = attached(model)
    reasons = {name: _why_not(name, part, graph) for name, part in parts.items()}
    reasons |= {name: "its weight is used by more than the layer itself" for name in parts if name in shared}
    reasons |= {name: special[name] for name in parts if name in special}
    reasons |= dict.fromkeys(asked, "the first convolution" if keep is None else "kept as asked")
    return {name: reason for name, reason in reasons.items() if reason}


def _named(names: Sequence[str], keep: Sequence[str]) -> list[str]:
    if isinstance(keep, str):
        raise SkipweaveError(f"keep is {keep!r}: expected a list of names")
    found = {pattern: [name for name in names if fnmatchcase(name, pattern)] for pattern in keep}
    if missing := [pattern for pattern, hits in found.items() if not hits]:
        raise SkipweaveError(f"keep has {missing[0]!r}, which matches none of the convolutions {', '.join(names)}")
    return [name for hits in found.values() for name in hits]


def _why_not(name: str, conv: nn.Module, graph: ChannelGraph) -> str:
    """Reason why a convolution cannot be replaced; empty if it can."""
    if not name:
        return "it is the network itself"
    if type(conv) is not nn.Conv2d:
        return f"it is a {type(conv).__name__}, not a Conv2d"
    if own := [*own_tensors(conv), *conv._modules]:
        return f"it has additional tensors or modules ({', '.join(own)})"
    if conv.groups > 1:
        return "depthwise" if conv.groups == conv.in_channels else f"it has {conv.groups} groups already"
    if conv.in_channels == 1:
        return "it reads one channel"
    return "" if name in graph.layers else "it runs only in training"


def _draw(
    name: str,
    conv: nn.Conv2d,
    fan_in: int,
    *,
    pattern: PatternName,
    choice: Choice,
    block: int | None,
    seed: int,
    start: ChannelPattern | None = None,
) -> ChannelPattern:
    if pattern == "block":
        sizes = channel_patterns.block_sizes(conv.in_channels, conv.out_channels, fan_in)
        block = start.block if start else max(size for size in sizes if block is None or size <= block)
    try:
        return channel_patterns.draw(
            pattern, conv.in_channels, conv.out_channels, fan_in, choice=choice, block=block, seed=seed, start=start
        )
    except SkipweaveError as error:
        raise SkipweaveError(f"{name}: {error}") from error


def _replace(sparse: nn.Module, patterns: Mapping[str, ChannelPattern], carry_weights: bool) -> None:
    """Replace convolutions of a copy of the model by sparse layers, under all of their names."""
    made: dict[nn.Module, nn.Module] = {}
    for name, pattern in patterns.items():
        conv = sparse.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        layer = ChannelSparseConv2d.from_dense(conv, carry_weights=carry_weights, pattern=pattern)
        made[conv] = carry_over(conv, layer)
    replace_modules(sparse, made)


def _change(drawn: ChannelPattern, kept: ChannelPattern) -> str:
    """Description of a sparse layer in the report."""
    parts = [f"reads {kept.fan_in} of {kept.in_channels}"]
    if kept.block > 1:
        parts.append(f"in blocks of {kept.block}")
    if kept.fan_in > drawn.fan_in:
        parts.append(f"{kept.fan_in - drawn.fan_in} more than requested, so that every channel is read")
    return ", ".join(parts)
