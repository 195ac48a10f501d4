"""`sparsify`: replace the convolutions of a network by channel-sparse ones."""

import math
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import partial
from typing import Any, Literal, get_args

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
from skipweave.transforms.argument_checks import check_flags, check_names, check_seed
from skipweave.transforms.attachments import attached, carry_over, listed, own_tensors, replace_modules
from skipweave.transforms.compression.classifier_sizes import update_classifier_sizes
from skipweave.transforms.compression.compressed_model import CompressedModel, compare
from skipweave.transforms.compression.depth_multiplier import check_resizable, new_widths, resize_all
from skipweave.transforms.compression.fixed_widths import fixed_width_layers, require_same_operations
from skipweave.transforms.compression.fully_connected import fully_connected_layers
from skipweave.transforms.compression.path_rule import apply_path_rule
from skipweave.transforms.verification import Reference
from skipweave_config.errors import SkipweaveError
from skipweave_config.integers import is_integer

ROUNDINGS: Mapping[str, Callable[[Fraction], int]] = {
    "ceil": lambda exact: max(1, math.ceil(exact)),
    "above": lambda exact: math.floor(exact) + 1,
}
"""Rounding of density times input channels: up, or to the next larger integer, which reproduces Table 1 best."""

OneFilter = Literal["keep", "sqrt"]

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
    fully_connected: bool = False,
    one_filter: OneFilter = "keep",
    seed: int | None = None,
    keep: Sequence[str] | None = None,
    carry_weights: bool = False,
    input_size: InputSize | None = None,
    example_inputs: Any = None,
) -> CompressedModel:
    """Replace the convolutions of a network by channel-sparse ones (Changpinyo et al. 2017, section 3).

    Convolutions become `skipweave.layers.ChannelSparseConv2d`, in which each output reads few input channels, drawn at
    random once. Linear layers, classifiers and fully connected layers in convolution form, depthwise and grouped
    convolutions, subclasses of `Conv2d`, convolutions that run only in training, and those named by `keep` are kept.
    Every channel has a reader, so that every link lies on a path from the image to the output (the paper's path rule):
    links to unread channels replace others, which keeps all fan-ins. Only layers with too few links for their input
    channels get additional ones, which the report lists.

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
        choice: `"balanced"` (default) or `"uniform"`, which `"grouped"` does not accept.
        block: Largest number of outputs per block, for `"block"`; None is no limit. Blocks of a layer are the largest
            that divide its outputs and leave no input unread.
        rounding: `"ceil"` (default), max(1, ceil(density c)), or `"above"`, floor(density c) + 1, which reproduces
            Table 1 best.
        multiple: Fan-ins are rounded up to a multiple of this number; None is 16 for `"block"`, whose layers inference
            engines run as grouped convolutions with vectors of that length, and 1 otherwise.
        path_rule: Whether patterns are modified so that every channel has a reader.
        fully_connected: Whether classifiers and fully connected layers in convolution form become sparse too; the paper
            retains all connections in fully connected layers.
        one_filter: Layers that connect a single filter: `"keep"` (default) keeps convolutions of one channel; with
            `"sqrt"`, the paper's rule for its small networks, they get ceil(sqrt(density) c) filters instead of c, and
            layers of one output read that fraction of their inputs. Other fan-ins still follow from the full widths.
            Layers whose outputs are added to those of other layers, as before a residual sum, keep their filters.
        seed: Seed of the patterns, at least 0; None draws one.
        keep: Names of convolutions to keep, optionally with wildcards, such as `"features.0"` or `"layer4.*"`; None is
            the first one that runs.
        carry_weights: Whether the weights of the remaining links are copied, or all weights are initialized (He, by
            fan-in). Either way sparse layers have the `requires_grad` of those that they replace.
        input_size: Channels, height and width of an image; the default is that of the model's `pretrained_cfg`.
        example_inputs: Arguments of one call, instead of a size: a tuple, a mapping of keyword arguments, or the only
            argument.

    Raises:
        SkipweaveError: An argument is invalid, the network is not supported, there is nothing to replace, or structure,
            shapes or data types of the outputs would change.
    """
    check_density(
        density,
        rounding,
        multiple,
        block,
        one_filter,
        carry_weights,
        pattern=pattern,
        choice=choice,
        path_rule=path_rule,
        fully_connected=fully_connected,
        seed=seed,
        keep=keep,
    )
    check_supported(model)
    fan_in = fan_in_rule(density, rounding=rounding, multiple=multiple, pattern=pattern)
    if done := [name for name, part in model.named_modules() if isinstance(part, ChannelSparseConv2d)]:
        raise SkipweaveError(f"{done[0]} is channel-sparse already: sparsify the original network")
    trials = trials_of(model, input_size, example_inputs)
    reference = Reference(model, trials, values=False)
    given, few = model, dict[str, str]()
    if one_filter == "sqrt":
        model, few = _with_few_filters(model, trials, density, keep)
    graph = channel_graph(model, trials)
    dense = fully_connected_layers(model, trials)
    reasons = {**({} if fully_connected else dense), **_kept(model, graph, trials, keep), **few}
    convs = {name: part for name, part in model.named_modules() if isinstance(part, nn.Conv2d) and name not in reasons}
    if not convs:
        raise SkipweaveError(f"the network has no convolution to make sparse ({listed(reasons, 'it has none')})")
    root = int(torch.randint(2**31, (), device="cpu")) if seed is None else int(seed)
    drawers = {
        name: partial(_draw, name, conv, pattern=pattern, choice=choice, block=block, seed=seed_of_layer(root, number))
        for number, (name, conv) in enumerate(convs.items())
    }
    of_one = fan_in_rule(math.sqrt(density)) if one_filter == "sqrt" else fan_in
    drawn = {name: drawers[name](number) for name, number in _fan_ins(given, convs, fan_in, of_one).items()}
    patterns = drawn
    if path_rule and pattern != "grouped":  # groups read all inputs
        patterns = apply_path_rule(graph, drawn, lambda name, before: drawers[name](before.fan_in + 1, start=before))
    sparse = copied(model)
    _replace(sparse, patterns, carry_weights)
    reference.require(sparse, "the sparse network", "Keep layers that the network treats specially: keep=[...].")
    changes = {name: _change(drawn[name], patterns[name]) for name in patterns}
    return compare(given, sparse, {**reasons, **changes}, trials, dense)


def _fan_ins(
    given: nn.Module, convs: Mapping[str, nn.Conv2d], rule: Callable[[int], int], of_one: Callable[[int], int]
) -> dict[str, int]:
    """Inputs per output of layers, some of which are narrower than in the given network; `of_one`: of those of one."""
    full = {name: part.in_channels for name, part in given.named_modules() if isinstance(part, nn.Conv2d)}
    rules = {name: of_one if conv.out_channels == 1 else rule for name, conv in convs.items()}
    return {name: min(rules[name](full[name]), conv.in_channels) for name, conv in convs.items()}


def _with_few_filters(
    model: nn.Module, trials: Trials, density: float, keep: Sequence[str] | None
) -> tuple[nn.Module, dict[str, str]]:
    """A copy in which convolutions of one channel have ceil(sqrt(density) c) filters, and what was changed, by name.

    Those whose outputs are combined element by element with outputs of other layers keep their filters.
    """
    convs = {name: part for name, part in model.named_modules() if isinstance(part, nn.Conv2d)}
    asked = _named(list(convs), keep) if keep is not None else []
    one = {name for name, conv in convs.items() if conv.in_channels == 1 and name not in asked}
    if not one:
        return model, {}

    def scaled(name: str, width: int) -> int:
        return channel_patterns.fan_in_of(math.sqrt(density), width) if name in one else width

    check_resizable(model)
    others = {name for name, part in model.named_modules() if isinstance(part, PRODUCERS)} - one
    fixed = fixed_width_layers(model, trials, others)
    now = new_widths(model, trials, lambda _, width: width, fixed)
    fewer = {name: widths for name, widths in new_widths(model, trials, scaled, fixed).items() if widths != now[name]}
    narrow = copied(model)
    resize_all(narrow, fewer)
    update_classifier_sizes(model, narrow, trials)
    if trials.device == "meta":  # elsewhere operations may depend on values
        require_same_operations(model, narrow, trials)
    notes = {
        name: f"{now[name].outputs} to {fewer[name].outputs} filters of one channel" for name in one & fewer.keys()
    }
    return narrow, notes


def seed_of_layer(seed: int, number: int) -> int:
    """Seed of the pattern of a network's sparse layer with this index."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def check_density(
    density: float,
    rounding: str = "ceil",
    multiple: int | None = None,
    block: int | None = None,
    one_filter: str = "keep",
    carry_weights: bool = False,
    *,
    pattern: str = "exact",
    choice: str = "balanced",
    path_rule: bool = True,
    fully_connected: bool = False,
    seed: int | None = None,
    keep: Sequence[str] | None = None,
    **_: object,
) -> None:
    """Check the arguments of `sparsify` that can be checked without a network.

    Raises:
        SkipweaveError: An argument is invalid.
    """
    if isinstance(density, bool) or not isinstance(density, int | float) or not 0 < density <= 1:
        raise SkipweaveError(f"density is {density!r}: expected a number with 0 < density <= 1")
    if rounding not in list(ROUNDINGS):
        raise SkipweaveError(f"rounding is {rounding!r}: expected one of {', '.join(ROUNDINGS)}")
    if one_filter not in get_args(OneFilter):
        raise SkipweaveError(f"one_filter is {one_filter!r}: expected one of {', '.join(get_args(OneFilter))}")
    channel_patterns.check_choice(pattern, choice)
    check_flags(carry_weights=carry_weights, path_rule=path_rule, fully_connected=fully_connected)
    if seed is not None:
        check_seed(seed)
    if keep is not None:
        check_names("keep", keep)
    if one_filter == "sqrt" and carry_weights:
        raise SkipweaveError("one_filter is 'sqrt' with carry_weights: filters are removed, so give one of the two")
    for name, value in (("multiple", multiple), ("block", block)):
        if value is not None and not is_integer(value, 1):
            raise SkipweaveError(f"{name} is {value!r}: expected an integer of at least 1")


def fan_in_rule(
    density: float,
    *,
    rounding: str = "ceil",
    multiple: int | None = None,
    pattern: PatternName = "exact",
    **_: object,
) -> Callable[[int], int]:
    """The fan-in of a layer's outputs as a function of its input channels, for these arguments of `sparsify`.

    >>> [fan_in_rule(0.1, rounding=rounding)(30) for rounding in ("ceil", "above")]
    [3, 4]
    """
    exact = Fraction(str(density))  # exactly 0.1, not the nearest binary number
    step = multiple or (BLOCK_MULTIPLE if pattern == "block" else 1)
    return lambda channels: min(channels, -(-ROUNDINGS[rounding](exact * channels) // step) * step)


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
    found = {pattern: [name for name in names if fnmatchcase(name, pattern)] for pattern in keep}
    if missing := [pattern for pattern, hits in found.items() if not hits]:
        raise SkipweaveError(f"keep has {missing[0]!r}, which matches none of the convolutions {', '.join(names)}")
    return [name for hits in found.values() for name in hits]


def _why_not(name: str, conv: nn.Module, graph: ChannelGraph) -> str:
    """Reason why a convolution cannot be replaced; empty if it can."""
    if not name:
        return "it is in no module that it could be replaced in"
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
