"""Scaling the widths of a network such that its conversion has a given number of parameters."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from skipweave.tracing.channel_layers import PRODUCERS, depthwise, output_width
from skipweave.tracing.copies import copied, on_meta
from skipweave.tracing.replicas import Trials, reason
from skipweave.transforms.compression.classifier_sizes import update_classifier_sizes
from skipweave.transforms.compression.depth_multiplier import check_resizable, new_widths, resize_all
from skipweave.transforms.compression.fixed_widths import fixed_width_layers
from skipweave_config.errors import SkipweaveError
from skipweave_config.integers import is_integer

_MOST = 10**12  # parameters; widths of networks of far more are not numbers that torch takes
_HALVINGS = 10  # of the interval of factors
_CLOSE = 0.005  # relative difference to the target with which the search ends
_GRID = 48  # factors over the interval where halving it does not get as close
_ROUNDING = 1.5  # by which rounded widths may lie outside of it


def check_target(parameters: object) -> None:
    """Check the argument `parameters` of `convert`.

    Raises:
        SkipweaveError: It is neither None, "equal" nor an integer from 1 to 10^12.
    """
    valid = is_integer(parameters, 1) and parameters <= _MOST
    if parameters is not None and parameters != "equal" and not valid:
        raise SkipweaveError(f"parameters is {parameters!r}: expected an integer from 1 to {_MOST}, 'equal' or None")


def scaled_to(
    target: int, model: nn.Module, trials: Trials, step: int, count: Callable[[nn.Module], int]
) -> tuple[float, nn.Module]:
    """Scale the widths of a network such that a count is close to a target.

    The count may jump up and down with the factor, as widths and groups are rounded: where halving an interval of
    factors ends more than half a percent from the target, a grid of factors is tried too, and the nearest count wins.

    Args:
        target: The wanted count.
        model: The network; not modified.
        trials: Inputs to run it with.
        step: Widths are rounded to multiples of it, and of the groups of grouped convolutions.
        count: Returns the count of a resized copy of the network on the meta device, which it may modify.

    Returns:
        The factor, and the resized and initialized network.

    Raises:
        SkipweaveError: The widths of the network cannot be changed, or the memory does not suffice.
    """
    check_resizable(model)
    fixed, step = fixed_width_layers(model, trials), math.lcm(step, *_groups(model))
    shapes = on_meta(model)
    layers = {name: part for name, part in model.named_modules() if isinstance(part, PRODUCERS) and name not in fixed}
    widths = sorted({output_width(part) for part in layers.values()})
    counts: dict[float, int] = {}
    known: dict[tuple[int, ...], int] = {}  # by the rounded widths, which many factors have in common

    def counted(factor: float) -> int:
        rounded = tuple(_rounded(factor, step, "", width) for width in widths)
        if rounded not in known:
            with torch.device("meta"):
                known[rounded] = count(resized(shapes, factor, Trials(trials.inputs, "meta")))
        counts[factor] = known[rounded]
        return counts[factor]

    def off(factor: float) -> float:
        return abs(counts[factor] - target) / target

    def resized(network: nn.Module, factor: float, trials: Trials) -> nn.Module:
        copy = copied(network)
        resize_all(copy, new_widths(network, trials, partial(_rounded, factor, step), fixed))
        return copy

    ratio = target / counted(1.0)
    bounds = ratio, math.sqrt(ratio)  # counts of layers are linear or quadratic in the factor
    interval = min(bounds) / _ROUNDING, max(bounds) * _ROUNDING
    _halve(interval, counted, target)
    if off(best := min(counts, key=off)) > _CLOSE:
        grid = np.geomspace(*interval, _GRID).tolist()
        misses = [abs(counted(factor) - target) for factor in grid]
        nearest = misses.index(min(misses))
        _halve((grid[max(nearest - 1, 0)], grid[min(nearest + 1, _GRID - 1)]), counted, target)
    best = min(counts, key=off)
    try:
        scaled = resized(model, best, trials)
    except RuntimeError as error:  # torch's, where it cannot allocate
        raise SkipweaveError(
            f"parameters is {target}: cannot create a network of {counts[best]:,} parameters, {reason(error)}"
        ) from error
    update_classifier_sizes(model, scaled, trials)
    return best, scaled


def _halve(interval: tuple[float, float], counted: Callable[[float], int], target: int) -> None:
    """Count at factors that close in on one where the count passes a target."""
    low, high = interval
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if counted(middle) < target else (low, middle)


def _groups(model: nn.Module) -> set[int]:
    """Groups of the convolutions that are not depthwise."""
    return {part.groups for part in model.modules() if isinstance(part, _ConvNd) and not depthwise(part)}


def _rounded(factor: float, step: int, _: str, width: int) -> int:
    """The multiple of a step nearest to a scaled width, at least one step; the width itself for a factor of 1."""
    return width if factor == 1 else max(step, step * round(factor * width / step))
