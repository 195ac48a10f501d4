"""`sparsify`: the convolutions of a given network read few channels each."""

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

from skipweave.errors import SkipweaveError
from skipweave.layers import ChannelSparseConv2d
from skipweave.topology import ChannelPattern, channel_patterns
from skipweave.topology.channel_patterns import Choice, PatternName
from skipweave.tracing.channel_graph import ChannelGraph, channel_graph
from skipweave.tracing.channel_layers import MAKERS
from skipweave.tracing.copies import copied
from skipweave.tracing.dataflow import data_flows
from skipweave.tracing.example_inputs import InputSize
from skipweave.tracing.replicas import Trials, trials_of
from skipweave.tracing.unsupported_networks import check_network
from skipweave.transforms.attachments import attached, carry_over, listed, own_tensors
from skipweave.transforms.transform_report import Thinned, thinned
from skipweave.transforms.unread_channels import rescue
from skipweave.transforms.verification import Reference

ROUNDINGS: Mapping[str, Callable[[Fraction], int]] = {
    "ceil": lambda exact: max(1, math.ceil(exact)),
    "above": lambda exact: math.floor(exact) + 1,
}
"""What becomes of density times input channels: rounded up, or the next whole number above, which fits Table 1."""


def sparsify(
    model: nn.Module,
    density: float = 0.1,
    *,
    pattern: PatternName = "exact",
    choice: Choice = "balanced",
    block: int | None = None,
    rounding: str = "ceil",
    path_rule: bool = True,
    seed: int | None = None,
    keep: Sequence[str] | None = None,
    carry_weights: bool = False,
    input_size: InputSize | None = None,
    example_inputs: Any = None,
) -> Thinned:
    """Let every convolution of a network read few channels, drawn at random once (Changpinyo et al. 2017, section 3).

    Convolutions become `skipweave.layers.ChannelSparseConv2d`; linear layers, depthwise and grouped convolutions,
    subclasses of `Conv2d` and what `keep` names stay. No channel is left without a reader: every link lies on a way
    from the image to the prediction (the paper's path rule). Where drawing layer by layer leaves channels unread, links
    are swapped, which keeps every fan-in, and only where layers have too few links for the channels that they see do
    they read some more; the report says so. Layers that run in training only, as auxiliary classifiers do, stay dense.

    The paper's hybrid is `sparsify(depth_multiplier(model, 0.5).model, 0.01)`.

    Patterns are part of the state as indices: a state loads into a network that was sparsified with the same arguments
    from any seed. Weights are drawn from torch's global generator, and so is the seed if none is given; nothing else.

    Deviation: the paper draws every output's inputs independently (`choice="uniform"`). Balanced draws, our default,
    leave far fewer channels unread in the first place.

    Args:
        model: Any network of convolutions. It is copied, not changed.
        density: Share of its input channels that each output reads, above 0 and at most 1.
        pattern: `"exact"` (every output its own), `"block"` (consecutive outputs share) or `"grouped"` (a grouped
            convolution behind a random permutation).
        choice: `"balanced"` or `"uniform"`.
        block: Outputs that share, for `"block"`; None is the most that leave no input of a layer unread.
        rounding: `"ceil"`, max(1, ceil(density c)), or `"above"`, floor(density c) + 1, which fits Table 1 best.
        path_rule: Whether every channel gets a reader; or patterns stay as they were drawn.
        seed: What the patterns are drawn from; None draws one.
        keep: Names of convolutions to leave dense, perhaps with wildcards, such as `"features.0"` or `"layer4.*"`; None
            is the first one that runs.
        carry_weights: Whether the weights of the links that stay are taken over; or all are drawn anew (He, by fan-in).
        input_size: Channels, height and width of an image; by default those of the model's `pretrained_cfg`.
        example_inputs: In place of a size, the arguments of one call: a tuple, a mapping of keyword arguments, or the
            one argument.

    Raises:
        SkipweaveError: An argument does not fit, the network is of a kind that cannot be made sparse, there is nothing
            to replace, or the result would give anything of another structure, shape or dtype.
    """
    check_density(density, rounding)
    check_network(model)
    fan_in = _fan_in_rule(density, rounding)
    if done := [name for name, part in model.named_modules() if isinstance(part, ChannelSparseConv2d)]:
        raise SkipweaveError(f"{done[0]} is channel-sparse already: sparsify the network as it was before")
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
        patterns = rescue(graph, drawn, lambda name, before: drawers[name](before.fan_in + 1, start=before))
    sparse = copied(model)
    _replace(sparse, patterns, carry_weights)
    reference.require(sparse, "the sparse network", "Keep layers that the network treats in a special way: keep=[...]")
    changes = {name: _change(drawn[name], patterns[name]) for name in patterns}
    return thinned(model, sparse, {**reasons, **changes}, trials)


def seed_of_layer(seed: int, number: int) -> int:
    """What the pattern of a network's sparse layer is drawn from, counted from 0."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def check_density(density: float, rounding: str = "ceil", **_: object) -> None:
    """Check those arguments of `sparsify` that need no network; others are left alone.

    Raises:
        SkipweaveError: One does not fit.
    """
    if isinstance(density, bool) or not isinstance(density, int | float) or not 0 < density <= 1:
        raise SkipweaveError(f"density is {density!r}: expected a number with 0 < density <= 1")
    if rounding not in list(ROUNDINGS):
        raise SkipweaveError(f"unknown rounding {rounding!r}: expected one of {', '.join(ROUNDINGS)}")


def _fan_in_rule(density: float, rounding: str) -> Callable[[int], int]:
    exact = Fraction(str(density))  # 0.1 as it is written, not the nearest binary number
    return lambda in_channels: min(in_channels, ROUNDINGS[rounding](exact * in_channels))


def _kept(model: nn.Module, graph: ChannelGraph, trials: Trials, keep: Sequence[str] | None) -> dict[str, str]:
    """Why a convolution stays as it is, by its name."""
    parts = {name: part for name, part in model.named_modules() if isinstance(part, _ConvNd)}
    convs = [name for name, part in parts.items() if isinstance(part, nn.Conv2d)]
    running = [name for name in graph.layers if name in convs]
    asked = running[:1] if keep is None else _named(convs, keep)
    flows = data_flows(model, trials, lambda part: isinstance(part, MAKERS), methods=("forward",), variants=False)
    borrowed = {name for flow in flows for name in flow.borrowed}
    special = attached(model)
    reasons = {name: _why_not(name, part, graph) for name, part in parts.items()}
    reasons |= {name: "its weight is used by more than the layer itself" for name in parts if name in borrowed}
    reasons |= {name: special[name] for name in parts if name in special}
    reasons |= dict.fromkeys(asked, "the first convolution" if keep is None else "kept as asked")
    return {name: reason for name, reason in reasons.items() if reason}


def _named(names: Sequence[str], keep: Sequence[str]) -> list[str]:
    if isinstance(keep, str):
        raise SkipweaveError(f"keep is {keep!r}: expected a list of names")
    found = {wanted: [name for name in names if fnmatchcase(name, wanted)] for wanted in keep}
    if lost := [wanted for wanted, hits in found.items() if not hits]:
        raise SkipweaveError(f"keep names {lost[0]!r}, which is no convolution: expected some of {', '.join(names)}")
    return [name for hits in found.values() for name in hits]


def _why_not(name: str, conv: nn.Module, graph: ChannelGraph) -> str:
    """Say in words why a convolution cannot be made sparse; empty where it can."""
    if not name:
        return "it is the network itself"
    if type(conv) is not nn.Conv2d:
        return f"it is a {type(conv).__name__}, not a Conv2d"
    if own := [*own_tensors(conv), *conv._modules]:
        return f"it has tensors or modules of its own ({', '.join(own)})"
    if conv.groups > 1:
        return "depthwise" if conv.groups == conv.in_channels else f"it has {conv.groups} groups already"
    if conv.in_channels == 1:
        return "it reads one channel"
    return "" if name in graph.layers else "it runs in training only"


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
    if start is not None:
        block = start.block if pattern == "block" else block
    try:
        return channel_patterns.draw(
            pattern, conv.in_channels, conv.out_channels, fan_in, choice=choice, block=block, seed=seed, start=start
        )
    except SkipweaveError as error:
        raise SkipweaveError(f"{name}: {error}") from error


def _replace(sparse: nn.Module, patterns: Mapping[str, ChannelPattern], carry_weights: bool) -> None:
    """Put sparse layers into a copy of the model, one for each convolution, however many names that has."""
    made: dict[nn.Module, nn.Module] = {}
    for name, pattern in patterns.items():
        conv = sparse.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        layer = ChannelSparseConv2d.from_dense(conv, carry_weights=carry_weights, pattern=pattern)
        made[conv] = carry_over(conv, layer)
    for name, part in list(sparse.named_modules(remove_duplicate=False)):
        if part in made:
            sparse.set_submodule(name, made[part])


def _change(drawn: ChannelPattern, kept: ChannelPattern) -> str:
    """What the report says of a sparse layer."""
    parts = [f"reads {kept.fan_in} of {kept.in_channels}"]
    if kept.block > 1:
        parts.append(f"in blocks of {kept.block}")
    if kept.fan_in > drawn.fan_in:
        parts.append(f"{kept.fan_in - drawn.fan_in} more than asked, so that every channel is read")
    return ", ".join(parts)
