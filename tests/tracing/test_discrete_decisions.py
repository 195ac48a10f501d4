"""Discrete decisions that rounding changes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from skipweave.tracing.copies import replica
from skipweave.tracing.example_inputs import Inputs
from skipweave.tracing.network_outputs import Outcome, difference, outcome


class Gives(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def of(function: Callable[[Tensor], Any], x: Tensor) -> Outcome:
    return outcome(replica(Gives(function)), Inputs((x,)), decisions=True)


X = torch.tensor([3.0, 1.0, 2.0, 0.0])
FUNCTIONS: dict[str, tuple[Callable[[Tensor], Any], set[str], list[str]]] = {
    "none": (lambda x: x.sin() * 2, set(), []),
    "pool": (lambda x: nn.functional.max_pool2d(x.view(1, 1, 2, 2), 2), set(), []),
    "order": (lambda x: x[x.argsort()], {"output"}, ["aten.sort.default"]),
    "largest": (lambda x: x.max(0).values, set(), []),
    "place of the largest": (lambda x: [x.argmax(), x], {"output[0]"}, ["aten.argmax.default"]),
    "mask": (lambda x: x * (x > 1.5), {"output"}, ["aten.gt.Scalar"]),
    "choice": (lambda x: x[x > 1.5], {"output"}, ["aten.gt.Scalar"]),
    "rounding": (lambda x: x.long(), {"output"}, ["aten._to_copy.default"]),
    "second decision": (lambda x: (x[x.argsort()] > 0).float(), {"output"}, ["aten.sort.default", "aten.gt.Scalar"]),
    "numbers of sizes": (lambda x: torch.arange(len(x)) > 2, set(), []),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_dependent_on_decisions(name: str) -> None:
    function, dependent, decisions = FUNCTIONS[name]
    found = of(function, X)
    assert found.dependent == dependent
    assert [decision.name for decision in found.decisions] == decisions


def test_only_decisions_changed_by_rounding_are_tolerated() -> None:
    def detect(x: Tensor) -> dict[str, Tensor]:
        order = x.argsort(descending=True)
        return {"scores": x[order], "boxes": torch.arange(4.0)[order], "input": x}

    near = torch.tensor([1.0, 1.0 + 1e-6, 0.5, 0.25])
    turned = torch.tensor([1.0 + 1e-6, 1.0, 0.5, 0.25])
    assert difference(of(detect, near), of(detect, turned), values=True) == ""
    wrong = of(lambda x: {**detect(x), "boxes": detect(x)["boxes"] + 1}, near)
    assert difference(of(detect, near), wrong, values=True).startswith("output['boxes'] differs")
    apart = torch.tensor([1.0, 2.0, 0.5, 0.25])
    assert difference(of(detect, near), of(detect, apart), values=True).startswith("output['scores'] differs")
    elsewhere = of(lambda x: {**detect(x), "input": x + 1}, turned)
    assert difference(of(detect, near), elsewhere, values=True).startswith("output['input'] differs")


def test_decisions_dependent_on_tolerated_ones_are_tolerated() -> None:
    def detect(x: Tensor) -> Tensor:
        largest = x[x > 0]
        return torch.arange(3.0)[largest.sin().argsort()]

    near, turned = torch.tensor([1.0, 1.0 + 1e-6, -1.0, 0.5]), torch.tensor([1.0 + 1e-6, 1.0, -1.0, 0.5])
    assert not torch.equal(detect(near), detect(turned))
    assert difference(of(detect, near), of(detect, turned), values=True) == ""
    assert difference(of(detect, near), of(detect, turned.flip(0)), values=True) != ""


def test_different_numbers_of_detections_near_the_threshold_are_tolerated() -> None:
    def choose(x: Tensor) -> list[Tensor]:
        return [x[x > 1]]

    near, turned = torch.tensor([1.0 - 1e-7, 3.0]), torch.tensor([1.0 + 2e-7, 3.0])
    assert [len(of(choose, x).leaves["output[0]"]) for x in (near, turned)] == [1, 2]
    assert difference(of(choose, near), of(choose, turned), values=True) == ""
    assert difference(of(choose, near), of(choose, turned), values=False) != ""
    assert difference(of(choose, near), of(choose, turned + 1), values=True) != ""
