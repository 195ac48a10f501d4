"""Comparison of a network with its transformed version."""

import copy

import pytest
import torch
from torch import Tensor, nn

from skipweave.tracing.replicas import trials_of
from skipweave.transforms.verification import Reference
from tests.errors import raises

SIZE = (3, 8, 8)


class Net(nn.Module):
    """Refuses batches of 3 or images of odd sizes, if asked to, and counts its runs."""

    def __init__(self, *, batches: bool = True, odd: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.batches, self.odd, self.runs = batches, odd, 0

    def forward(self, x: Tensor) -> list[Tensor]:
        self.runs += 1
        if (len(x) == 3 and not self.batches) or (x.shape[-1] % 2 and not self.odd):
            raise ValueError("not so")
        return [self.norm(self.conv(x))]

    def forward_features(self, x: Tensor) -> Tensor:
        return self.conv(x)


def reference(model: nn.Module, *, values: bool = True) -> Reference:
    return Reference(model, trials_of(model, SIZE), values=values)


class Changed(Net):
    """Does something else where `when` says so."""

    def __init__(self, when: str) -> None:
        super().__init__()
        self.when = when

    def forward(self, x: Tensor) -> list[Tensor]:
        (made,) = super().forward(x)
        factor = 2 if eval(self.when, dict(n=len(x), w=x.shape[-1], training=self.training)) else 1
        return [made * factor]


@pytest.mark.parametrize(
    ("when", "found"),
    [("False", False), ("training", False), ("True", True), ("n == 3", True), ("w % 2", True), ("w >= 40", True)],
)
def test_differences_at_one_batch_or_image_size_are_found(when: str, found: bool) -> None:
    given = reference(Net())
    words = given.difference(Changed(when))
    assert bool(words) == found
    assert not reference(Net(), values=False).difference(Changed(when))
    if found:
        assert "output[0]" in words
        with raises("the result", "Do something."):
            given.require(Changed(when), "the result", "Do something.")


def test_inputs_that_the_original_rejects_are_skipped() -> None:
    assert reference(Net(batches=False)).difference(Changed("n == 3")) == ""
    assert reference(Net(odd=False)).difference(Changed("w % 2")) == ""
    assert reference(Net()).difference(Net(odd=False))
    with raises(SIZE):
        trials_of(nn.Conv2d(4, 4, 1), SIZE)


def test_other_methods_are_compared_only_by_value() -> None:
    class Other(Net):
        def forward_features(self, x: Tensor) -> Tensor:
            return super().forward_features(x) + 1

    assert "output differs" in reference(Net()).difference(Other())
    assert reference(Net(), values=False).difference(Other()) == ""


def test_comparison_changes_neither_network_nor_generator() -> None:
    model, result = Net().train(), Net()
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert reference(model).difference(result) == ""
    assert (model.runs, result.runs, model.training, result.training) == (0, 0, True, True)
    torch.testing.assert_close(dict(model.state_dict()), dict(state), rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random)


def test_tolerance_is_the_effect_of_input_rounding() -> None:
    class Sharp(Net):
        """Amplifies small differences by a large factor."""

        def __init__(self, factor: float, shift: float) -> None:
            super().__init__()
            self.factor, self.shift = factor, shift

        def forward(self, x: Tensor) -> list[Tensor]:
            return [torch.sin(self.factor * super().forward(x)[0] + self.shift)]

    for factor, shift, same in ((1, 1e-5, True), (1, 1e-2, False), (1e6, 1e-2, True), (1e4, 1.0, False)):
        assert (reference(Sharp(factor, 0)).difference(Sharp(factor, shift)) == "") == same


def test_only_structure_is_compared_on_the_meta_device() -> None:
    with torch.device("meta"):
        given, result = Net(), Changed("True")
    assert reference(given).difference(result) == ""
