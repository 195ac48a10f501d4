"""Hooks, attributes and ties of layers: kept in results or refused by layer name, and never run during analysis."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import skipweave
from skipweave.layers import ChannelSparseConv2d
from skipweave.models import create_model
from skipweave.topology import Link
from skipweave.transforms import remove_links
from skipweave.transforms.compression.densify import add_links, draw_links, sparse_layers
from skipweave_config.errors import SkipweaveError
from tests.errors import raises
from tests.transforms.transforms import TRANSFORMS, shaken

SIZE = dict(input_size=(3, 12, 12))
IMAGES = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")


def network() -> nn.Sequential:
    """Layer "2" can be made sparse, narrow or a SeqConv layer, and batch norm "3" can be folded."""
    torch.manual_seed(0)
    return shaken(
        nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1, bias=False),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 4),
        )
    )


def _tie(model: nn.Module) -> None:
    model[5].weight = model[2].weight


def _own_forward(model: nn.Module) -> None:
    given = model[2].forward
    model[2].forward = lambda x: 2 * given(x)


BINDING: dict[str, tuple[Callable[[nn.Module], Any], str]] = {
    "tied": (_tie, r"5\.weight"),
    "old weight norm": (lambda model: weight_norm(model[2]), r"\(WeightNorm\)"),
    "old spectral norm": (lambda model: spectral_norm(model[2]), r"\(SpectralNorm\)"),
    "weight norm": (lambda model: parametrizations.weight_norm(model[2]), "parametrized"),
    "spectral norm": (lambda model: parametrizations.spectral_norm(model[2]), "parametrized"),
    "orthogonal": (lambda model: parametrizations.orthogonal(model[2]), "parametrized"),
    "pruned": (lambda model: prune.l1_unstructured(model[2], "weight", 0.5), r"\(L1Unstructured\)"),
    "pruned twice": (
        lambda model: [prune.random_unstructured(model[2], "weight", 0.2) for _ in range(2)],
        r"\(PruningContainer\)",
    ),
    "hook on the gradient": (
        lambda model: model[2].weight.register_hook(lambda gradient: gradient),
        "hook",
    ),
    "hook behind the gradient": (
        lambda model: model[2].weight.register_post_accumulate_grad_hook(lambda parameter: None),
        "hook",
    ),
    "own forward": (_own_forward, "forward"),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", BINDING)
def test_bound_layers_are_kept_or_rejected_by_name(name: str, transform: str) -> None:
    attach, reason = BINDING[name]
    model = network()
    attach(model)
    if transform == "depth_multiplier":
        with pytest.raises(SkipweaveError, match=rf"\b2 .*{reason}"):
            skipweave.depth_multiplier(model, 0.5, **SIZE)
        return
    if transform == "optimize_for_inference":
        fast = skipweave.optimize_for_inference(model, **SIZE)
        torch.testing.assert_close(fast(IMAGES), model.eval()(IMAGES), rtol=1e-4, atol=1e-4)
        assert ("3" in fast.folding.left) == ("gradient" not in name)
        return
    assert re.search(rf"\b2: [^;\n]*{reason}", said(model, transform))


def said(model: nn.Module, transform: str) -> str:
    """What is said of layers that stay as they are."""
    try:
        if transform == "convert":
            kept = skipweave.convert(model, min_width=16, **SIZE).kept
        else:
            kept = {layer.name: layer.change for layer in skipweave.sparsify(model, 0.5, **SIZE).layers}
    except SkipweaveError as error:
        return str(error)
    return "\n".join(f"{name}: {reason}" for name, reason in kept.items())


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(
    "attach", [weight_norm, parametrizations.weight_norm, partial(prune.random_unstructured, name="weight", amount=0.3)]
)
def test_unaffected_layers_keep_attachments(attach: Callable[..., Any], transform: str) -> None:
    """Of what is done to the rest of the network, a layer that is left alone notices nothing."""
    model = network()
    attach(model[0])
    if transform == "depth_multiplier":
        return
    made = TRANSFORMS[transform](model, **SIZE)
    layer = made[0] if transform != "optimize_for_inference" else made.network[0]
    assert layer.state_dict().keys() == model[0].state_dict().keys()
    model.eval()
    model(IMAGES)  # computes its weight anew
    made.eval()(IMAGES)
    torch.testing.assert_close(layer.weight, model[0].weight)


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def count(self, *_: Any) -> None:
        self.calls += 1

    __call__ = count


REGISTER = {
    "forward": lambda part, hook: part.register_forward_hook(hook),
    "forward, with keyword arguments": lambda part, hook: part.register_forward_hook(hook, with_kwargs=True),
    "forward, always": lambda part, hook: part.register_forward_hook(hook, always_call=True),
    "before": lambda part, hook: part.register_forward_pre_hook(hook),
    "backward": lambda part, hook: part.register_full_backward_hook(hook),
    "before backward": lambda part, hook: part.register_full_backward_pre_hook(hook),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("where", ["", "2", "3"])
def test_hooks_are_kept_and_do_not_run_during_analysis(where: str, transform: str) -> None:
    model = network()
    counters = {kind: (Counter(), Counter()) for kind in REGISTER}
    for kind, (counter, other) in counters.items():
        for hook in (lambda *_, counter=counter: counter.count(), other.count, other):
            REGISTER[kind](model.get_submodule(where), hook)
    made = TRANSFORMS[transform](model, **SIZE)
    assert {counter.calls for pair in counters.values() for counter in pair} == {0}
    images = IMAGES.clone().requires_grad_()
    made(images).sum().backward()
    calls = {kind: (counter.calls, other.calls) for kind, (counter, other) in counters.items()}
    assert calls == dict.fromkeys(REGISTER, (1, 2))


@pytest.mark.parametrize("where", ["2", "3"])
def test_hooks_see_and_return_equal_tensors(where: str) -> None:
    seen: list[torch.Tensor] = []

    def change(part: nn.Module, args: Any, made: torch.Tensor) -> torch.Tensor:
        seen.append(made.detach().clone())
        return made * 2 + 1

    model = network().eval()
    model.get_submodule(where).register_forward_hook(change)
    fast = skipweave.optimize_for_inference(model, **SIZE)
    assert seen == []
    torch.testing.assert_close(fast(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-4, atol=1e-4)


def test_depth_multiplier_keeps_the_width_of_hooked_tensors() -> None:
    widths: list[int] = []
    model = network()
    model[4].register_forward_hook(lambda part, args, made: widths.append(made.shape[1]))
    narrow = skipweave.depth_multiplier(model, 0.5, **SIZE).model
    narrow(IMAGES)
    assert (widths, narrow[0].out_channels, narrow[2].out_channels) == ([16], 8, 16)


def test_networks_that_depend_on_their_hooks() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(8, 4, 1))
    model[0].register_forward_hook(lambda part, args, made: made[:, :8])
    with pytest.raises(SkipweaveError, match=r"1 \(Conv2d\).*on 0\)"):
        skipweave.sparsify(model, 0.5, **SIZE)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_training_modes_attributes_and_requires_grad_are_kept(transform: str) -> None:
    model = network()
    model.train()
    for name in ("2", "3"):
        part = model.get_submodule(name)
        part.eval()
        part.note, part._note = {"a": 1}, "b"
    model.note = "network"
    model[2].requires_grad_(False)
    model[5].weight.note = "weight"
    made = TRANSFORMS[transform](model, **SIZE)
    assert made.note == "network"
    if transform == "optimize_for_inference":
        made = made.network
        assert not any(part.training for part in made.modules())
    else:
        assert [made[number].training for number in range(6)] == [part.training for part in model][:6]
        assert {p.requires_grad for p in made[2].parameters()} == {False}
        assert made[0].weight.requires_grad
    for name in ("2", "3"):
        part = made.get_submodule(name)
        assert (part.note, part._note) == ({"a": 1}, "b")
    if transform != "convert":
        assert made[5].weight.note == "weight"
    assert not hasattr(made[0], "note")


def test_layers_with_additional_tensors_are_rejected() -> None:
    model = network()
    model[2].register_buffer("importance", torch.ones(16))
    with pytest.raises(SkipweaveError, match=r"2: .*\(importance\)"):
        skipweave.sparsify(model, 0.5, keep=["0", "5"], **SIZE)
    with pytest.raises(SkipweaveError, match=r"\b2 .*\(importance\)"):
        skipweave.depth_multiplier(model, 0.5, **SIZE)
    fast = skipweave.optimize_for_inference(model, **SIZE)
    assert "(importance)" in fast.folding.left["3"]


def sparse() -> nn.Sequential:
    layers = [ChannelSparseConv2d(8, 8, 1, fan_in=2, seed=seed) for seed in (0, 1)]
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("attach", "reason"),
    [
        (lambda model: setattr(model[1], "weight", model[0].weight), r"\b0: .*weight"),
        (lambda model: prune.l1_unstructured(model[1], "weight", 0.5), r"\b1: .*hook"),
        (lambda model: parametrizations.weight_norm(model[1]), r"\b1: .*parametrized"),
    ],
)
def test_densify_rejects_bound_weights(attach: Callable[[nn.Module], Any], reason: str) -> None:
    model = sparse()
    attach(model)
    with pytest.raises(SkipweaveError, match=reason):
        list(add_links(model, draw_links(model, {"0": 4, "1": 4})))
    assert {layer.fan_in for layer in sparse_layers(model).values()} == {2}


def test_densify_keeps_gradient_hooks() -> None:
    counter, model = Counter(), sparse()
    model[0].weight.register_hook(lambda gradient: counter.count())
    assert len(list(add_links(model, draw_links(model, {"0": 4, "1": 4})))) == 2
    model(torch.randn(1, 8, 2, 2)).sum().backward()
    assert counter.calls == 1


def densenet(**arguments: Any) -> nn.Module:
    return create_model("densenet40_12", units=2, growth=2, **arguments)


def test_remove_links_keeps_attachments() -> None:
    counter, model = Counter(), densenet()
    model.stem.eval().requires_grad_(False)
    model.stem.note = "stem"
    model.stages[0].units[1].register_forward_hook(lambda *_: counter.count())
    smaller = remove_links(model, [Link(0, 2, 0)], lambda topology: densenet(topology=topology)).model
    assert counter.calls == 0
    assert (smaller.training, smaller.stem.training, smaller.stem.note) == (True, False, "stem")
    assert {p.requires_grad for p in smaller.stem.parameters()} == {False}
    smaller(torch.randn(2, 3, 32, 32))
    assert counter.calls == 1


def test_remove_links_rejects_bound_weights() -> None:
    model = densenet()
    prune.l1_unstructured(model.stages[0].units[1].body.conv, "weight", 0.5)
    with raises("stages.0.units.1.body.conv", "weight"):
        remove_links(model, [Link(0, 2, 0)], lambda topology: densenet(topology=topology))
