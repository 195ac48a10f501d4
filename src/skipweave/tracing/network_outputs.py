"""Outputs of a run of a network: their structure, and every tensor by name; and their comparison."""

import cmath
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skipweave.tracing.copies import tensors_of
from skipweave.tracing.discrete_decisions import Decision, Decisions, decided_differently
from skipweave.tracing.example_inputs import Inputs
from skipweave.tracing.replicas import run

TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Tolerance of values relative to the largest one of their tensor, by data type."""


@dataclass(frozen=True)
class Outcome:
    """The outputs of a run.

    Attributes:
        leaves: Tensors, numbers, and descriptions of containers, by name: "output[0].logits", "layer4.features".
        dependent: Names of tensors that depend on decisions, if these were recorded.
        decisions: Decisions of the run, if recorded.
        rounding: Change of each tensor when the inputs change by rounding errors, relative to its largest value;
            infinite if its size or integer values change.
    """

    leaves: Mapping[str, Any]
    dependent: frozenset[str] = frozenset()
    decisions: tuple[Decision, ...] = ()
    rounding: Mapping[str, float] = field(default_factory=dict)

    def with_rounding(self, shaken: "Outcome") -> "Outcome":
        """Return this outcome with `rounding` set, given the outcome for inputs with rounding errors."""
        pairs = ((place, leaf, shaken.leaves.get(place)) for place, leaf in self.leaves.items())
        apart = {
            place: _apart(leaf, other)
            for place, leaf, other in pairs
            if isinstance(leaf, Tensor) and isinstance(other, Tensor)
        }
        return dataclasses.replace(self, rounding=apart)


def outcome(
    twin: nn.Module, inputs: Inputs, method: str = "forward", *, within: str = "", decisions: bool = False
) -> Outcome:
    """Run a replica and collect what it returns and what it stores in its modules.

    Args:
        twin: The replica.
        inputs: Inputs on its device.
        method: Name of the method to run.
        within: Name of the submodule whose tensors are collected.
        decisions: Whether decisions are recorded, which replaces custom kernels by torch's operators.

    Raises:
        SkipweaveError: The replica cannot run.
    """
    network = twin.get_submodule(within)
    before = {place: (tensor, tensor._version) for place, tensor in tensors_of(network)}
    noted = Decisions()
    with noted if decisions else nullcontext():
        returned = run(twin, inputs, method)
    found = dict(_described(returned, "output", set()))
    for place, tensor in tensors_of(network):
        old, version = before.get(place, (None, 0))
        if tensor is not old or tensor._version != version:
            found[place] = tensor
    dependent = frozenset(place for place, leaf in found.items() if isinstance(leaf, Tensor) and noted.depends(leaf))
    leaves = {place: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf for place, leaf in found.items()}
    return Outcome(leaves, dependent, tuple(noted.found))


def difference(expected: Outcome, found: Outcome, *, values: bool, sizes: bool = True) -> str:
    """Describe the first difference between two outcomes; empty if there is none.

    Values may differ by `TOLERANCES`, or by ten times the effect of rounding errors in the inputs. If rounding changes
    a decision, such as the order of nearly equal scores, sizes and values that depend on decisions are not compared.

    Args:
        expected: Outcome of the original network.
        found: Outcome of the transformed network.
        values: Whether values are compared, or only structure, shapes and data types.
        sizes: Whether sizes are compared, or only the number of dimensions.
    """
    otherwise = values and decided_differently(expected.decisions, found.decisions, TOLERANCES[torch.float32])
    for place in (*expected.leaves, *found.leaves):
        rounding = 10 * expected.rounding.get(place, 0.0)
        loose = (otherwise and place in expected.dependent) or rounding == math.inf
        if place not in found.leaves:
            return f"{place} is missing: expected {_words(expected.leaves[place])}"
        if place not in expected.leaves:
            return f"{place} is {_words(found.leaves[place])}: expected nothing there"
        one, other = expected.leaves[place], found.leaves[place]
        if reason := _leaf_difference(one, other, values and not loose, sizes and not loose, rounding):
            return f"{place} {reason}"
    return ""


def _described(value: Any, place: str, around: set[int]) -> Iterator[tuple[str, Any]]:
    """Describe an object and everything that it contains."""
    if isinstance(value, Tensor):
        yield place, value
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield place, torch.as_tensor(value.copy())
    elif isinstance(value, int | float | complex | np.generic):
        yield place, value
    elif id(value) not in around:
        parts = _parts(value)
        names = "" if not parts or isinstance(value, Sequence) else " with " + ", ".join(parts)
        yield place, f"a {type(value).__qualname__} of {len(parts)}{names}" if parts else _kind(value)
        for name, part in parts.items():
            yield from _described(part, place + name, around | {id(value)})


def _kind(value: Any) -> str:
    return repr(value) if value is None or isinstance(value, str) else f"a {type(value).__qualname__}"


def _parts(value: Any) -> dict[str, Any]:
    """Parts of an object, by the expression that accesses them."""
    if isinstance(value, str | bytes | type | nn.Module) or callable(value):
        return {}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {f".{name}": getattr(value, name) for name in value._fields}
    if isinstance(value, Mapping):
        return {f"[{key!r}]": part for key, part in value.items()}
    if isinstance(value, Sequence | set | frozenset) or type(value).__name__ == "deque":
        return {f"[{number}]": part for number, part in enumerate(value)}
    if dataclasses.is_dataclass(value):
        return {f".{part.name}": getattr(value, part.name, None) for part in dataclasses.fields(value)}
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()) if hasattr(value, name)]
    return {f".{name}": part for name, part in (vars(value) if hasattr(value, "__dict__") else {}).items()} | {
        f".{name}": getattr(value, name) for name in slots
    }


def _leaf_difference(expected: Any, found: Any, values: bool, sizes: bool, rounding: float) -> str:
    if isinstance(expected, Tensor) and isinstance(found, Tensor):
        if expected.dim() != found.dim() or (sizes and expected.shape != found.shape):
            return f"has shape {tuple(found.shape)}: expected {tuple(expected.shape)}"
        if expected.dtype != found.dtype:
            return f"has dtype {found.dtype}: expected {expected.dtype}"
        return _value_difference(expected, found, rounding) if values and expected.shape == found.shape else ""
    numbers = isinstance(expected, int | float | complex) and isinstance(found, int | float | complex)
    if type(expected) is not type(found) or (isinstance(expected, str) and expected != found):
        return f"is {_words(found)}: expected {_words(expected)}"
    if values and numbers and not _close(expected, found):
        return f"is {found}: expected {expected}"
    return ""


def _value_difference(expected: Tensor, found: Tensor, rounding: float) -> str:
    if expected.is_meta:
        return ""
    if not (expected.is_floating_point() or expected.is_complex()):
        differing = int((expected != found).sum())
        return f"differs in {differing} of {expected.numel()} elements" if differing else ""
    allowed = max(TOLERANCES.get(expected.abs().dtype, 1e-3), rounding)
    apart = _apart(expected, found)
    if apart <= allowed:
        return ""
    return f"differs by {apart:.2g} of its largest value: expected at most {allowed:.2g}"


def _apart(expected: Tensor, found: Tensor) -> float:
    """Largest difference relative to the largest value; infinite if sizes or integers differ."""
    if expected.shape != found.shape or expected.is_meta:
        return math.inf
    wide = torch.complex128 if expected.is_complex() else torch.float64
    same = (expected == found) | (expected.isnan() & found.isnan())
    if same.all():
        return 0.0
    if not (expected.is_floating_point() or expected.is_complex()):
        return math.inf
    apart = (expected.to(wide) - found.to(wide)).abs().masked_fill(same, 0.0).nan_to_num(math.inf, math.inf)
    largest = expected.to(wide).abs().nan_to_num(0.0, 0.0).max().item()
    return apart.max().item() / largest if largest else math.inf


def _close(expected: Any, found: Any) -> bool:
    if cmath.isnan(expected) or cmath.isnan(found):
        return cmath.isnan(expected) and cmath.isnan(found)
    return cmath.isclose(expected, found, rel_tol=1e-3)


def _words(leaf: Any) -> str:
    if isinstance(leaf, Tensor):
        return f"a tensor of shape {tuple(leaf.shape)} and {leaf.dtype}"
    return leaf if isinstance(leaf, str) else f"a {type(leaf).__name__}"
