"""`densify`: nested patterns, old weights unchanged."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from skipweave.topology.channel_patterns import Choice
from skipweave.transforms import sparsify
from skipweave.transforms.compression.densify import (
    add_links,
    draw_links,
    match_fan_ins,
    scatter_old,
    sparse_layers,
)
from skipweave.transforms.compression.sparsify import fan_in_rule
from tests.errors import raises

SIZE = (3, 8, 8)


def network(density: float = 0.1, **options: object) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 20, 3), nn.BatchNorm2d(20), nn.ReLU(), nn.Conv2d(20, 32, 3), nn.ReLU(), nn.Conv2d(32, 6, 1)]
    return sparsify(nn.Sequential(*layers), density, seed=1, fully_connected=True, input_size=SIZE, **options).model


def grow(model: nn.Module, density: float, *, choice: Choice = "balanced", seed: int = 0, **weights: Any) -> list[Any]:
    rule = fan_in_rule(density)
    fan_ins = {name: rule(layer.in_channels) for name, layer in sparse_layers(model).items()}
    return list(add_links(model, draw_links(model, fan_ins, choice=choice, seed=seed), seed=seed, **weights))


@pytest.mark.parametrize("options", [{}, dict(choice="uniform"), dict(pattern="block", multiple=1)])
def test_links_are_added_and_none_removed(options: dict[str, object]) -> None:
    model = network(0.2, **options)
    for density in (0.4, 0.8, 1.0):
        before = {name: layer.pattern.mask() for name, layer in sparse_layers(model).items()}
        dense = {name: layer.to_dense().weight.clone() for name, layer in sparse_layers(model).items()}
        grow(model, density, choice=options.get("choice", "balanced"), seed=3)
        for name, layer in sparse_layers(model).items():
            assert layer.fan_in == round(np.ceil(round(density * layer.in_channels, 9)))
            assert layer.weight.shape[1] == layer.index.shape[1] == layer.fan_in
            assert (layer.pattern.mask() >= before[name]).all()
            old = torch.from_numpy(before[name])[:, :, None, None]
            torch.testing.assert_close(layer.to_dense().weight * old, dense[name], rtol=0, atol=0)
    assert layer.pattern.mask().all()


@pytest.mark.parametrize(("multiple", "fan_ins"), [(16, [32, 64]), (1, [20, 50])])
def test_fan_ins_of_blocks_remain_multiples(multiple: int, fan_ins: list[int]) -> None:
    layers = [nn.Conv2d(3, 8, 1), nn.Conv2d(8, 100, 1), nn.Conv2d(100, 64, 1)]
    model = sparsify(
        nn.Sequential(*layers),
        0.1,
        pattern="block",
        multiple=multiple,
        seed=1,
        keep=["0", "1"],
        fully_connected=True,
        input_size=SIZE,
    ).model
    for density, fan_in in zip((0.2, 0.5), fan_ins, strict=True):
        rule = fan_in_rule(density, multiple=multiple, pattern="block")
        list(add_links(model, draw_links(model, {"2": rule(100)})))
        assert model[2].fan_in == fan_in


def test_zero_weights_keep_the_outputs() -> None:
    model = network().double().eval()
    x = torch.randn(2, *SIZE, dtype=torch.float64)
    before = model(x)
    assert len(grow(model, 0.5, new="zero")) == 2
    torch.testing.assert_close(model(x), before)


def test_new_weights_have_he_variance_and_the_global_generator_is_unchanged() -> None:
    model = network()
    state = torch.get_rng_state()
    grow(model, 0.5, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    layer = model[3]
    added = torch.from_numpy(layer.pattern.mask() & ~network()[3].pattern.mask())
    assert layer.to_dense().weight[added].std().item() == pytest.approx((2 / (9 * 10)) ** 0.5, rel=0.1)
    again = network()
    grow(again, 0.5, seed=4)
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    other = network()
    grow(other, 0.5, seed=5)
    assert not torch.equal(other[3].index, layer.index)


def test_stored_networks_get_the_same_links() -> None:
    stored = {name: value.clone() for name, value in network().state_dict().items()}
    model, other = network(), network(0.05)
    match_fan_ins(other, {name: tuple(value.shape) for name, value in stored.items()})
    other.load_state_dict(stored)
    for part in (model, other):
        grow(part, 0.5, seed=4)
    torch.testing.assert_close(other.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_parameters_keep_their_identity_and_dense_layers_are_unchanged() -> None:
    model = network()
    weights = list(model.parameters())
    grown = grow(model, 0.1)
    assert grown == []
    grown = [weight for weight, _ in grow(model, 0.3)]
    assert all(any(weight is own for own in weights) for weight in grown)
    model(torch.randn(2, *SIZE)).sum().backward()
    assert all(weight.grad is not None and weight.grad.shape == weight.shape for weight in model.parameters())


def test_optimizer_state_of_old_links_moves_with_them() -> None:
    places = torch.tensor([[0, 2], [1, 2]])
    old = torch.tensor([[5.0, 6.0], [7.0, 8.0]])[:, :, None, None]
    new = scatter_old(old, torch.zeros(2, 3, 1, 1), places)
    assert new.flatten(1).tolist() == [[5, 0, 6], [0, 7, 8]]


def test_uniform_links_are_drawn_independently_and_balanced_ones_evenly() -> None:
    """Reader counts of balanced extensions differ by at most one; those of uniform ones are binomial."""
    model = nn.Sequential(nn.Conv2d(3, 400, 1), nn.Conv2d(400, 400, 1))
    for choice in ("balanced", "uniform"):
        grown = sparsify(
            model, 0.01, choice=choice, path_rule=False, fully_connected=True, seed=0, input_size=(3, 2, 2)
        ).model
        grow(grown, 0.1, choice=choice)
        readers = grown[1].pattern.readers
        assert (readers.max() - readers.min() <= 1) == (choice == "balanced")
        if choice == "uniform":
            assert readers.std() == pytest.approx((400 * 0.1 * 0.9) ** 0.5, rel=0.15)


@pytest.mark.parametrize("seed", [-1, "a", 1.5, True])
def test_wrong_arguments(seed: Any) -> None:
    model = network()
    with raises("seed", repr(seed)):
        draw_links(model, {}, seed=seed)
    with raises("seed", repr(seed)):
        list(add_links(model, {}, seed=seed))
    with raises("new", "'frsh'"):
        list(add_links(model, {}, new="frsh"))


def test_fan_in_out_of_range() -> None:
    with raises("fan_in", 21):
        draw_links(network(), {"3": 21})
