"""Tensors that an object of any kind holds."""

import gc
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

_NEVER = (str, bytes, int, float, complex, type, ModuleType, nn.Module)


def tensors_in(value: object) -> list[Tensor]:
    """Tensors that are reachable from an object, but not through modules."""
    return list(_tensors(value, set()))


def _tensors(value: object, seen: set[int]) -> Iterator[Tensor]:
    waiting = [value]
    held: list[Any] = []  # keeps objects alive, so that ids are unique
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, _NEVER):
            continue
        seen.add(id(found))
        held.append(found)
        if isinstance(found, Tensor):
            yield found
        elif isinstance(found, FunctionType):  # without its globals
            waiting += [found.__closure__, found.__defaults__]
        else:
            waiting += gc.get_referents(found)


def tensors_of_tree(tree: object) -> list[Tensor]:
    """Tensors in nested tuples, lists and dictionaries."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
