"""Discrete decisions in a network: integers and booleans computed from floats, for instance by sorting or comparing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from skipweave.tracing.held_tensors import tensors_of_tree


@dataclass(frozen=True, eq=False)
class Decision:
    """An operation that computes integers or booleans from floating-point numbers.

    Attributes:
        name: Name of the operation ("aten.topk.default").
        reads: Its floating-point inputs.
        makes: Its integer and boolean outputs.
    """

    name: str
    reads: tuple[Tensor, ...]
    makes: tuple[Tensor, ...]


class Decisions(TorchDispatchMode):
    """Mode that records the decisions that are used, and the tensors that depend on decisions.

    Attributes:
        found: The used decisions, in the order of their first use.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Decision] = []
        self._dependent: Any = WeakTensorKeyDictionary()
        self._unused: Any = WeakTensorKeyDictionary()  # such as the indices of max pools

    def depends(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on a decision, which is then added to `found`."""
        if decision := self._unused.pop(tensor, None):
            self._dependent[tensor] = True
            if decision not in self.found:
                self.found.append(decision)
        return tensor in self._dependent

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = tensors_of_tree((args, kwargs))
        dependent = True in [self.depends(tensor) for tensor in given]
        made = func(*args, **(kwargs or {}))
        results = tensors_of_tree(made)
        for tensor in results if dependent else ():
            self._dependent[tensor] = True
        chosen = tuple(tensor for tensor in results if not (tensor.is_floating_point() or tensor.is_complex()))
        numbers = [tensor for tensor in given if tensor.is_floating_point()]
        if chosen and numbers:
            decision = Decision(str(func), *(tuple(t.detach().clone() for t in group) for group in (numbers, chosen)))
            for tensor in chosen:
                self._unused[tensor] = decision
        return made


def decided_differently(expected: Sequence[Decision], found: Sequence[Decision], tolerance: float) -> bool:
    """Whether the first decision in which two runs differ had equal inputs, up to rounding."""
    for one, other in zip(expected, found, strict=False):
        if one.name != other.name or not all(map(_close, one.reads, other.reads, [tolerance] * len(one.reads))):
            return False
        if not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(one.makes, other.makes, strict=True)):
            return True
    return False


def _close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    if one.shape != other.shape:
        return False
    finite = one.isfinite()
    largest = one[finite].abs().max().item() if finite.any() else 0.0
    return torch.allclose(one, other, rtol=0, atol=tolerance * largest, equal_nan=True)
