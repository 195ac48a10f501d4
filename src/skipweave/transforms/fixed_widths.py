"""What narrowing has to respect: layers whose width is seen outside a network, and the way that maps take."""

from collections.abc import Iterable, Iterator
from itertools import combinations

from torch import nn

from skipweave.errors import SkipweaveError
from skipweave.tracing.channel_layers import MAKERS, depthwise
from skipweave.tracing.dataflow import Flow, Step, data_flows
from skipweave.tracing.replicas import Trials
from skipweave.transforms.layer_widths import resizable


def kept_layers(model: nn.Module, trials: Trials) -> set[str]:
    """Find the convolutions and linear layers that have to keep their width, in evaluation or training mode.

    These are layers that make what the network returns, keeps, or shows to hooks, without another layer behind them;
    and layers whose maps are combined with such maps number by number, as in a residual sum.

    Raises:
        SkipweaveError: A layer's weight is used by more than the layer itself.
    """
    whole = lambda part: isinstance(part, MAKERS) and not depthwise(part)  # noqa: E731
    flows = (
        *data_flows(model, trials, whole, methods=("forward",)),
        *data_flows(model, trials, whole, methods=("forward",), training=True, variants=False),
    )
    kept: set[str] = set()
    together: set[frozenset[str]] = set()
    for flow in flows:
        if flow.borrowed:
            raise SkipweaveError(
                f"cannot make {min(flow.borrowed)} narrower: its weight is used by more than the layer itself"
            )
        makers = _makers(flow)
        kept.update(*(makers.get(value, frozenset()) for value in flow.shown))
        together |= {makers[step.makes[0]] for step in flow.steps if step.pointwise and len(step.reads) > 1}
    return _grown(kept, together)


def _makers(flow: Flow) -> dict[int, frozenset[str]]:
    """Layers that each value comes from, without another layer in between."""
    found: dict[int, frozenset[str]] = {}
    for step in flow.steps:
        before = frozenset[str]().union(*(found.get(value, frozenset()) for value in step.reads))
        found |= dict.fromkeys(step.makes, frozenset({step.name}) if step.is_module else before)
    return found


def _grown(kept: set[str], together: Iterable[frozenset[str]]) -> set[str]:
    """Add all layers that go together with some that are kept."""
    while more := {name for group in together if not group.isdisjoint(kept) for name in group} - kept:
        kept = kept | more
    return kept


def require_same_way(model: nn.Module, narrow: nn.Module, trials: Trials) -> None:
    """Refuse a narrower network that does other operations, or the same on sizes that no longer go together.

    Raises:
        SkipweaveError: It does, and where.
    """
    for before, after in zip(_ways(model, trials), _ways(narrow, trials), strict=True):
        for old, new in zip(before.steps, after.steps, strict=False):
            if old.name != new.name:
                raise SkipweaveError(
                    f"the narrow network would run {new.name} where the given network runs {old.name}: it asks for the "
                    "sizes of its maps"
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
    """Pairs of what a pointwise operation reads, and the dimensions in which they are of equal size."""
    shapes = [flow.shapes[value] for value in step.reads] if step.pointwise else []
    for (i, one), (j, other) in combinations(enumerate(shapes), 2):
        for dim in range(1, min(len(one), len(other)) + 1):
            if one[-dim] == other[-dim]:
                yield i, j, dim
