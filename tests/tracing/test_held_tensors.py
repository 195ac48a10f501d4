"""Tensors reachable from Python objects."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from skipweave.tracing.held_tensors import tensors_in


@dataclass
class Record:
    logits: Tensor


class Slots:
    __slots__ = ("value",)

    def __init__(self, value: Tensor) -> None:
        self.value = value


def closure(x: Tensor) -> Callable[[], Tensor]:
    return lambda: x


def default(x: Tensor) -> Callable[[], Tensor]:
    def function(y: Tensor = x) -> Tensor:
        return y

    return function


@pytest.mark.parametrize(
    "hold",
    [
        lambda x: x,
        lambda x: [1, ({"a": x},)],
        Record,
        Slots,
        lambda x: SimpleNamespace(a=SimpleNamespace(b=x)),
        lambda x: partial(torch.add, x),
        closure,
        default,
    ],
    ids=["tensor", "containers", "dataclass", "slots", "attributes", "partial", "closure", "default"],
)
def test_tensors_are_found(hold: Callable[[Tensor], Any]) -> None:
    x = torch.zeros(1)
    (found,) = tensors_in(hold(x))
    assert found is x


def test_every_tensor_is_found_once() -> None:
    x, y = torch.zeros(1), torch.zeros(1)
    assert {id(tensor) for tensor in tensors_in([x, [x, y], {"a": y}])} == {id(x), id(y)}
    assert len(tensors_in([x, [x, y], {"a": y}])) == 2


def test_cycles_end() -> None:
    x = torch.zeros(1)
    cycle: list[Any] = [x]
    cycle.append(cycle)
    assert len(tensors_in(cycle)) == 1


@pytest.mark.parametrize("value", [None, 1, "text", torch.nn, nn.Linear, [nn.Linear(2, 2)]])
def test_tensors_of_modules_and_globals_are_not_included(value: object) -> None:
    assert tensors_in(value) == []
