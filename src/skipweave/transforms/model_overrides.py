"""`depth_multiplier` and `sparsify` among a network's overrides, for whatever builds networks by name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from skipweave.errors import SkipweaveError, noted_in
from skipweave.transforms.depth_multiplier import check_factor, depth_multiplier
from skipweave.transforms.sparsify import check_density, sparsify
from skipweave.transforms.transform_report import Thinned

# What thins a network, in this order; the argument that a bare number stands for; and what checks the arguments.
_WAYS: Mapping[str, tuple[Callable[..., Thinned], str, Callable[..., None]]] = {
    "depth_multiplier": (depth_multiplier, "alpha", check_factor),
    "sparsify": (sparsify, "density", check_density),
}

#: The overrides that thin a network.
THINNING = tuple(_WAYS)


def build_thinned(make: Callable[..., nn.Module], overrides: Mapping[str, Any]) -> nn.Module:
    """Build a network and thin it as its overrides ask.

    Args:
        make: Builds the network, given the overrides without the two that thin it.
        overrides: Of them, `depth_multiplier` is a number or a mapping of `skipweave.depth_multiplier`'s arguments
            (`{alpha: 0.5, rule: ceil}`), `sparsify` likewise (`0.1`, or `{density: 0.1, pattern: block}`). With both,
            the narrower network is made sparse (the paper's hybrid).

    Raises:
        SkipweaveError: The arguments are unknown or do not fit, or the network cannot be thinned.
    """
    model = make(**{name: value for name, value in overrides.items() if name not in _WAYS})
    for name, (thin, main, _) in _WAYS.items():
        if overrides.get(name) is not None:
            model = thin(model, **_arguments(name, thin, main, overrides[name])).model
    return model


def check_thinning(overrides: Mapping[str, Any]) -> None:
    """Check the overrides that thin a network, as far as this can be done without the network.

    Raises:
        SkipweaveError: A name or a number does not fit; all that do not are told.
    """
    problems: list[str] = []
    for name, (thin, main, check) in _WAYS.items():
        if overrides.get(name) is not None:
            with noted_in(problems):
                check(**_arguments(name, thin, main, overrides[name]))
    if problems:
        raise SkipweaveError(*problems)


def _arguments(name: str, thin: Callable[..., Thinned], main: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        return {main: given}
    known = [parameter for parameter in inspect.signature(thin).parameters if parameter != "model"]
    if unknown := [key for key in given if key not in known]:
        raise SkipweaveError(f"{name} has no argument {', '.join(unknown)}: it takes {', '.join(known)}")
    if main not in given:
        raise SkipweaveError(f"{name} needs {main}: give {{{main}: ...}}, or a number alone")
    return dict(given)
