"""Constraints of narrowing: layers whose width must not change, and operations that must stay the same."""

from collections.abc import Collection, Iterable, Iterator
from itertools import combinations

from torch import nn

from skipweave.tracing.channel_layers import PRODUCERS, depthwise
from skipweave.tracing.dataflow import Flow, Step, data_flows
from skipweave.tracing.replicas import Trials
from skipweave.transforms.compression.layer_widths import resizable
from skipweave_config.errors import SkipweaveError


def fixed_width_layers(model: nn.Module, trials: Trials, kept: Collection[str] = ()) -> set[str]:
    """Find the convolutions and linear layers whose width must not change, in evaluation or training mode.

    These are layers whose outputs the network returns, stores or passes to hooks without another layer in between, and
    layers whose outputs are combined with these element by element, as in a residual sum.

    Args:
        model: The network.
        trials: Inputs to run it with.
        kept: Names of layers whose width must not change for other reasons.

    Raises:
        SkipweaveError: The weight of a layer is also used outside the layer.
    """
    whole = lambda part: isinstance(part, PRODUCERS) and not depthwise(part)  # noqa: E731
    flows = (
        *data_flows(model, trials, whole, methods=("forward",)),
        *data_flows(model, trials, whole, methods=("forward",), training=True, variants=False),
    )
    fixed = {*kept}
    together: set[frozenset[str]] = set()
    for flow in flows:
        if flow.shared:
            raise SkipweaveError(
                f"cannot make {min(flow.shared)} narrower: its weight is used by more than the layer itself"
            )
        producers = last_modules(flow)
        fixed.update(*(producers.get(value, frozenset()) for value in flow.shown))
        together |= {producers[step.makes[0]] for step in flow.steps if step.pointwise and len(step.reads) > 1}
    return _grown(fixed, together)


def last_modules(flow: Flow) -> dict[int, frozenset[str]]:
    """Modules from which each value is computed without another of the flow's modules in between."""
    found: dict[int, frozenset[str]] = {}
    for step in flow.steps:
        before = frozenset[str]().union(*(found.get(value, frozenset()) for value in step.reads))
        found |= dict.fromkeys(step.makes, frozenset({step.name}) if step.is_module else before)
    return found


def _grown(kept: set[str], together: Iterable[frozenset[str]]) -> set[str]:
    """Add all layers that are combined with kept ones."""
    while more := {name for group in together if not group.isdisjoint(kept) for name in group} - kept:
        kept = kept | more
    return kept


def require_same_operations(model: nn.Module, narrow: nn.Module, trials: Trials) -> None:
    """Raise if a narrower network runs other operations, or pointwise operations on sizes that no longer match.

    Raises:
        SkipweaveError: Names the first such operation.
    """
    for before, after in zip(_ways(model, trials), _ways(narrow, trials), strict=True):
        for old, new in zip(before.steps, after.steps, strict=False):
            if old.name != new.name:
                raise SkipweaveError(
                    f"the narrow network would run {new.name} instead of {old.name}: its code depends on the sizes of "
                    "its maps"
                )
            if set(_equal_sizes(before, old)) - set(_equal_sizes(after, new)):
                sizes = [
                    " and ".join(str(flow.shapes[v]) for v in s.reads) for flow, s in ((before, old), (after, new))
                ]
                raise SkipweaveError(
                    f"the narrow network would run {new.name} on maps of {sizes[1]}: expected {sizes[0]}"
                )


def _ways(model: nn.Module, trials: Trials) -> tuple[Flow, ...]:
    return data_flows(model, trials, resizable, methods=("forward",), variants=False)


def _equal_sizes(flow: Flow, step: Step) -> Iterator[tuple[int, int, int]]:
    """Pairs of inputs of a pointwise operation, with each dimension (from the end) in which their sizes are equal."""
    shapes = [flow.shapes[value] for value in step.reads] if step.pointwise else []
    for (i, one), (j, other) in combinations(enumerate(shapes), 2):
        for dim in range(1, min(len(one), len(other)) + 1):
            if one[-dim] == other[-dim]:
                yield i, j, dim
