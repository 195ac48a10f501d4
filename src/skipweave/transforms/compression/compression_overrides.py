"""The overrides `depth_multiplier` and `sparsify` of models that are created by name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from skipweave.transforms.compression.compressed_model import CompressedModel
from skipweave.transforms.compression.depth_multiplier import check_factor, depth_multiplier
from skipweave.transforms.compression.sparsify import check_density, sparsify
from skipweave_config.errors import SkipweaveError, noted_in

# Transforms in the order of application, the argument that a plain number stands for, and a check of the arguments.
_TRANSFORMS: Mapping[str, tuple[Callable[..., CompressedModel], str, Callable[..., None]]] = {
    "depth_multiplier": (depth_multiplier, "alpha", check_factor),
    "sparsify": (sparsify, "density", check_density),
}


def build_compressed(make: Callable[..., nn.Module], overrides: Mapping[str, Any]) -> nn.Module:
    """Create a network and compress it according to its overrides.

    Args:
        make: Creates the network, given the other overrides.
        overrides: Overrides of the network. `depth_multiplier` is a number or a mapping of the arguments of
            `skipweave.depth_multiplier` (`{alpha: 0.5, rule: ceil}`), `sparsify` likewise (`0.1`, or
            `{density: 0.1, pattern: block}`). With both, the narrower network is sparsified (the paper's hybrid).

    Raises:
        SkipweaveError: Arguments are unknown or invalid, or the network cannot be compressed.
    """
    model = make(**{name: value for name, value in overrides.items() if name not in _TRANSFORMS})
    for name, (transform, main, _) in _TRANSFORMS.items():
        if overrides.get(name) is not None:
            model = transform(model, **_arguments(name, transform, main, overrides[name])).model
    return model


def check_compression(overrides: Mapping[str, Any]) -> None:
    """Check the overrides that compress a network, as far as possible without the network.

    Raises:
        SkipweaveError: Arguments are unknown or invalid; names all of them.
    """
    problems: list[str] = []
    for name, (transform, main, check) in _TRANSFORMS.items():
        if overrides.get(name) is not None:
            with noted_in(problems):
                check(**_arguments(name, transform, main, overrides[name]))
    if problems:
        raise SkipweaveError(*problems)


def _arguments(name: str, transform: Callable[..., CompressedModel], main: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        return {main: given}
    known = [parameter for parameter in inspect.signature(transform).parameters if parameter != "model"]
    if unknown := [key for key in given if key not in known]:
        raise SkipweaveError(f"{name} has no argument {', '.join(unknown)}: it takes {', '.join(known)}")
    if main not in given:
        raise SkipweaveError(f"{name} needs {main}: give {{{main}: ...}} or only a number")
    return dict(given)
