"""Random networks through every transform: equal outputs or a SkipweaveError."""

import copy
from contextlib import suppress

import pytest
import torch
from hypothesis import given, seed, settings
from torch import nn

from skipweave_config.errors import SkipweaveError
from tests.transforms.random_networks import SIZE, networks
from tests.transforms.transforms import TRANSFORMS, assert_alike

QUICK, SLOW = 12, 400


def check(model: nn.Module, transform: str) -> bool:
    """Hold a transform of a network to what is promised; return whether it went through."""
    state, mode = copy.deepcopy(model.state_dict()), model.training
    made = None
    with suppress(SkipweaveError):
        made = TRANSFORMS[transform](model, input_size=SIZE)
    assert model.training == mode
    torch.testing.assert_close(dict(model.state_dict()), dict(state), rtol=0, atol=0)
    if made is None:
        return False
    inference = transform == "optimize_for_inference"
    assert made.training == (mode and not inference)
    for size in ((2, *SIZE), (5, *SIZE), (2, 3, 10, 13)):
        x = torch.randn(size, dtype=torch.float64)
        model.eval()
        with torch.no_grad():
            assert_alike(made.eval()(x.clone()), model(x.clone()), values=inference)
        if hasattr(model, "kept"):
            assert_alike(made.kept, model.kept, values=inference)
    if not inference:
        leaves = made.train()(torch.randn(4, *SIZE, dtype=torch.float64))
        assert leaves is not None
    return True


@pytest.mark.parametrize("transform", TRANSFORMS)
@seed(16)  # whose networks have every kind of step, head and container among them
@settings(max_examples=QUICK)
@given(model=networks())
def test_random_networks(transform: str, model: nn.Module) -> None:
    check(model, transform)


@pytest.mark.slow
@pytest.mark.parametrize("transform", TRANSFORMS)
@settings(max_examples=SLOW)
@given(model=networks())
def test_many_random_networks(transform: str, model: nn.Module) -> None:
    check(model, transform)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transform", "least"),
    [("sparsify", 0.3), ("depth_multiplier", 0.2), ("convert", 0.1), ("optimize_for_inference", 0.95)],
)
def test_share_of_transformable_networks(transform: str, least: float) -> None:
    """Refusing all would pass the tests above."""
    went = []

    @settings(max_examples=60, database=None)
    @given(model=networks())
    def count(model: nn.Module) -> None:
        went.append(check(model, transform))

    count()
    assert sum(went) >= least * len(went)
