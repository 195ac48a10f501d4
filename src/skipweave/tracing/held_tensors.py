"""Tensors that an object holds, whatever kind of object it is."""

import gc
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

from torch import Tensor, nn

_NEVER = (str, bytes, int, float, complex, type, ModuleType, nn.Module)


def tensors_in(value: object) -> list[Tensor]:
    """Tensors that are reached from an object, through whatever holds them, but not through modules."""
    return list(_tensors(value, set()))


def _tensors(value: object, seen: set[int]) -> Iterator[Tensor]:
    waiting = [value]
    held: list[Any] = []  # so that no two objects have one id
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, _NEVER):
            continue
        seen.add(id(found))
        held.append(found)
        if isinstance(found, Tensor):
            yield found
        elif isinstance(found, FunctionType):  # not what is global around it
            waiting += [found.__closure__, found.__defaults__]
        else:
            waiting += gc.get_referents(found)
