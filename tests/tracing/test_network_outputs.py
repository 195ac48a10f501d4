"""Comparison of the outputs of two runs."""

import dataclasses
from collections import OrderedDict, deque, namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from skipweave.tracing.copies import replica
from skipweave.tracing.example_inputs import Inputs
from skipweave.tracing.network_outputs import TOLERANCES, difference, outcome


class Gives(nn.Module):
    """Returns something that holds a tensor."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(x)


def of(wrap: Any, x: Tensor) -> dict[str, Any]:
    return outcome(replica(Gives(wrap)), Inputs((x,)))


Pair = namedtuple("Pair", ["first", "second"])


@dataclasses.dataclass
class Record:
    logits: Any
    name: str = "record"


class Plain:
    def __init__(self, held: Any) -> None:
        self.held = held


class Slots:
    __slots__ = ("held",)

    def __init__(self, held: Any) -> None:
        self.held = held


HOLDERS: dict[str, tuple[Any, str]] = {
    "tensor": (lambda x: x, "output"),
    "tuple": (lambda x: (1, x), "output[1]"),
    "list": (lambda x: [x], "output[0]"),
    "dict": (lambda x: {"a": x}, "output['a']"),
    "ordered dict": (lambda x: OrderedDict(a=x), "output['a']"),
    "namedtuple": (lambda x: Pair(None, x), "output.second"),
    "dataclass": (lambda x: Record(x), "output.logits"),
    "object": (lambda x: Plain([x]), "output.held[0]"),
    "slots": (lambda x: Slots(x), "output.held"),
    "deque": (lambda x: deque([x]), "output[0]"),
    "generator": (lambda x: (y for y in [x]), "output[0]"),
    "numpy": (lambda x: [x.numpy()], "output[0]"),
    "number": (lambda x: [x.sum().item()], "output[0]"),
}
IMAGE = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", HOLDERS)
def test_different_values_are_found_in_every_container(name: str) -> None:
    wrap, place = HOLDERS[name]
    assert difference(of(wrap, IMAGE), of(wrap, IMAGE.clone()), values=True) == ""
    assert difference(of(wrap, IMAGE), of(wrap, IMAGE + 1), values=False) == ""
    assert difference(of(wrap, IMAGE), of(wrap, IMAGE + 1), values=True).startswith(f"{place} ")


@pytest.mark.parametrize("name", sorted(set(HOLDERS) - {"number"}))
def test_different_shapes_and_dtypes_are_found_in_every_container(name: str) -> None:
    wrap, place = HOLDERS[name]
    words = difference(of(wrap, IMAGE), of(wrap, IMAGE[:1]), values=False)
    assert words.startswith(f"{place} ")
    assert "(1, 3)" in words
    assert "(2, 3)" in words
    assert difference(of(wrap, IMAGE), of(wrap, IMAGE[:1]), values=False, sizes=False) == ""
    assert difference(of(wrap, IMAGE), of(wrap, IMAGE[0]), values=False, sizes=False) != ""
    words = difference(of(wrap, IMAGE), of(wrap, IMAGE.double()), values=False)
    assert words.startswith(f"{place} ")
    assert "float64" in words
    assert "float32" in words


@pytest.mark.parametrize("name", HOLDERS)
@pytest.mark.parametrize("other", HOLDERS)
def test_container_types_are_distinguished(name: str, other: str) -> None:
    if name in ("list", "generator") and other in ("list", "generator"):
        return  # what a generator yields is collected
    if {name, other} <= {"list", "generator", "numpy"}:
        return  # arrays count as tensors
    words = difference(of(HOLDERS[name][0], IMAGE), of(HOLDERS[other][0], IMAGE), values=False)
    assert (words == "") == (name == other)


@pytest.mark.parametrize(
    ("expected", "found", "words"),
    [
        (lambda x: [x, x], lambda x: [x], "output is a list of 1"),
        (lambda x: {"a": x}, lambda x: {"b": x}, "output is a dict of 1 with ['b']"),
        (lambda x: [x, None], lambda x: [x, x], "output[1] is a tensor"),
        (lambda x: [x, "a"], lambda x: [x, "b"], "output[1] is 'b'"),
        (lambda x: [x, 1], lambda x: [x, 1.0], "output[1] is a float"),
    ],
)
def test_different_structures(expected: Any, found: Any, words: str) -> None:
    assert difference(of(expected, IMAGE), of(found, IMAGE), values=False).startswith(words)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_tolerances(dtype: torch.dtype) -> None:
    x = torch.tensor([1.0, 256.0, float("inf"), float("nan"), 0.0], dtype=torch.float64)
    close, far = (x + torch.tensor([factor * 256 * TOLERANCES[dtype], 0, 0, 0, 0]) for factor in (0.5, 3))
    results = [of(lambda x: x, y.to(dtype)) for y in (x, close, far)]
    assert difference(results[0], results[1], values=True) == ""
    assert "expected at most" in difference(results[0], results[2], values=True)
    for other in (torch.full_like(x, float("nan")), torch.zeros_like(x)):
        assert difference(results[0], of(lambda x: x, other.to(dtype)), values=True) != ""


def test_integers_are_compared_exactly() -> None:
    labels = torch.tensor([1, 2, 3])
    assert difference(of(lambda x: x, labels), of(lambda x: x, labels + 1), values=True) == (
        "output differs in 3 of 3 elements"
    )


class Keeps(nn.Module):
    """Leaves tensors in its modules."""

    def __init__(self, factor: float, where: str) -> None:
        super().__init__()
        self.inner = nn.Identity()
        self.inner.register_buffer("buffer", torch.zeros(2, 3))
        self.factor, self.where = factor, where

    def forward(self, x: Tensor) -> Tensor:
        y = self.factor * x
        if self.where == "attribute":
            self.inner.kept = y
        elif self.where == "dict":
            self.inner.kept = {"y": y}
        elif self.where == "buffer":
            self.inner.buffer.copy_(y)
        elif self.where == "new buffer":
            self.inner.buffer = y
        return x


@pytest.mark.parametrize("where", ["attribute", "dict", "buffer", "new buffer"])
def test_stored_module_attributes_are_compared(where: str) -> None:
    one, same, other, nothing = (
        outcome(replica(Keeps(factor, place)), Inputs((IMAGE,)))
        for factor, place in ((1, where), (1, where), (2, where), (1, ""))
    )
    assert difference(one, same, values=True) == ""
    assert difference(one, other, values=False) == ""
    assert difference(one, other, values=True).startswith("inner.")
    assert "is missing" in difference(one, nothing, values=False)
    assert "expected nothing there" in difference(nothing, one, values=False)


def test_self_referencing_objects() -> None:
    def ring(x: Tensor) -> list[Any]:
        held: list[Any] = [x]
        held.append(held)
        return held

    assert difference(of(ring, IMAGE), of(ring, IMAGE), values=True) == ""
    assert difference(of(ring, IMAGE), of(ring, IMAGE + 1), values=True) != ""


def test_object_arrays_are_compared_by_shape() -> None:
    assert difference(*[of(lambda x: np.array([None, "a"]), IMAGE)] * 2, values=True) == ""
