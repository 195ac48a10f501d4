"""Cost matching: networks scaled in width to about equal cost, with units and topology unchanged."""

import inspect
from bisect import bisect_right
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from torch import nn

from skipweave_config.errors import SkipweaveError

#: Overrides that scale a network's widths, in order of preference.
KNOBS = ("growth", "widening", "widths")


def match_cost(
    name: str,
    args: Mapping[str, Any],
    build: Callable[..., nn.Module],
    cost: Callable[[nn.Module], int],
    target: int,
) -> dict[str, Any]:
    """Overrides with which a network's cost is as near to the target as integers allow.

    The growth (concatenating networks) or the widths (summing networks) of all stages are scaled together: the largest
    takes every whole number, the others follow in the proportions that the network has now, rounded. Networks whose
    widths go in groups (SeqResNets) take every whole widening. The cost grows with it, so the search is exact; of two
    equally near costs the lower one is taken.

    Args:
        name: The network, for messages.
        args: Its overrides; a growth or widths among them give the proportions of the stages.
        build: Makes the network from overrides.
        cost: Of a network.
        target: Cost to come near to.

    Raises:
        SkipweaveError: The network has nothing to scale, or costs more than the target at its smallest.
    """
    knob, proportions = _knob(name, build(**args))
    if knob == "widening" and args.get("widths") is not None:
        raise SkipweaveError(f"{name} has widths that no widening scales: leave widths out, or leave match out")

    def scaled(scale: int) -> dict[str, Any]:
        values = [max(1, round(scale * part)) for part in proportions]
        return {**args, knob: values[0] if knob != "widths" and len(set(proportions)) == 1 else values}

    def cost_at(scale: int) -> int:
        return cost(build(**scaled(scale)))

    if (least := cost_at(1)) > target:
        raise SkipweaveError(
            f"{name} cannot be matched to {target:,}: at its smallest ({knob} {scaled(1)[knob]}) it costs {least:,}"
        )
    scale = largest_within(cost_at, target)
    nearer = target - cost_at(scale) <= cost_at(scale + 1) - target
    return scaled(scale if nearer else scale + 1)


def largest_within(cost_at: Callable[[int], int], target: int) -> int:
    """Find the largest scale whose cost is at most the target, for a cost that grows with the scale.

    >>> largest_within(lambda scale: scale * scale, 50)
    7
    """
    high = 2
    while cost_at(high) <= target:
        high *= 2
    return bisect_right(range(high), target, lo=high // 2, key=cost_at) - 1


def _knob(name: str, model: nn.Module) -> tuple[str, list[Fraction]]:
    """The override that scales the network, and each stage's width relative to the largest."""
    parameters = inspect.signature(type(model)).parameters
    knob = next((knob for knob in KNOBS if knob in parameters), None)
    if knob is None:
        raise SkipweaveError(f"{name} has nothing to scale: it takes neither {' nor '.join(KNOBS)}; leave match out")
    if knob == "widening":
        return knob, [Fraction(1)]
    stages = getattr(model, "stages", None)
    # Where there is no chain of stages, one growth serves the whole network.
    made = [int(stage.widths[-1]) for stage in stages] if isinstance(stages, nn.Sequential) else [1]  # type: ignore[index]
    return knob, [Fraction(width, max(made)) for width in made]
