"""timm's optimizers: made as the config says, their state kept exactly, gradients clipped."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer, RMSprop

import skipweave
from skipweave.training import OptimConfig
from skipweave.training.checkpoint.optimizer_state import names_in_order, pack, unpack
from skipweave.training.checkpoint.tensor_file import open_saved, save
from skipweave.training.optimization.optimizer_profiles import available_optimizers, optimizer_entry
from skipweave.training.optimization.optimizers import (
    check_groups,
    check_layer_decay,
    check_optimizer,
    clip_gradients,
    make_optimizer,
)
from skipweave_config.errors import SkipweaveError
from skipweave_config.optimizer_table import optimizer_table
from tests.errors import raises

NAMES = available_optimizers()


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))


def take_steps(network: nn.Module, optimizer: Optimizer, seed: int, number: int = 3) -> None:
    torch.manual_seed(seed)
    for _ in range(number):
        optimizer.zero_grad()
        network(torch.randn(5, 3, 4, 4)).square().sum().backward()
        optimizer.step()


def test_the_table_is_timms():
    assert {name: optimizer_entry(name) for name in NAMES} == optimizer_table()
    assert {"sgd", "adamw", "lamb", "lion", "muon", "rmsprop", "adafactor"} <= set(NAMES)
    assert not any(name.startswith(("bnb", "fused")) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_continues_exactly_from_its_state(name: str, tmp_path: Path):
    config = OptimConfig(name, lr=0.01)
    network = small_network()
    optimizer = make_optimizer(config, network)
    take_steps(network, optimizer, seed=1)
    names = names_in_order(optimizer, network)
    tensors, values, groups = pack(optimizer, names)
    save(tmp_path / "state", tensors, {"values": values, "groups": groups})
    saved = open_saved(tmp_path / "state")
    again = deepcopy(network)
    other = make_optimizer(config, again)
    unpack(other, names, saved.tensors(), saved.info["values"], saved.info["groups"])
    before = [parameter.clone() for parameter in network.parameters()]
    take_steps(network, optimizer, seed=2)
    take_steps(again, other, seed=2)
    pairs = list(zip(network.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    assert any(not torch.equal(ours, old) for ours, old in zip(network.parameters(), before, strict=True))


@pytest.mark.parametrize(
    ("config", "kind", "options"),
    [
        (OptimConfig(), SGD, dict(lr=0.1, momentum=0.9, nesterov=True)),
        (OptimConfig(momentum=0), SGD, dict(lr=0.1)),
        (OptimConfig("rmsprop", lr=0.1, momentum=0), RMSprop, dict(lr=0.1, alpha=0.9)),
        (OptimConfig("adamw", lr=0.1, args={"betas": [0.5, 0.8]}), torch.optim.AdamW, dict(lr=0.1, betas=(0.5, 0.8))),
    ],
)
def test_steps_are_those_of_torch(config: OptimConfig, kind: type[Optimizer], options: dict[str, float]):
    """Norms and biases decay in the papers, and do not by default."""
    for decayed in (True, False):
        ours, theirs = small_network(), small_network()
        flat = [parameter for parameter in theirs.parameters() if parameter.dim() == 1]
        groups = [
            {"params": [parameter for parameter in theirs.parameters() if parameter.dim() > 1]},
            {"params": flat, "weight_decay": 0.01 if decayed else 0.0},
        ]
        values = {**vars(config), "weight_decay": 0.01, "decay_norms_and_biases": decayed}
        take_steps(ours, make_optimizer(OptimConfig(**values), ours), seed=1)
        take_steps(theirs, kind(groups, weight_decay=0.01, **options), seed=1)
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


def test_the_papers_decay_keeps_the_order_of_parameters():
    network = skipweave.create_model("sparsenet40_24", units=2)
    everywhere = make_optimizer(OptimConfig(decay_norms_and_biases=True), network)
    names = [name for name, _ in network.named_parameters()]
    assert len(everywhere.param_groups) == 1
    assert names_in_order(everywhere, network) == names
    by_default = names_in_order(make_optimizer(OptimConfig(), network), network)
    assert by_default != names
    assert sorted(by_default) == sorted(names)


@pytest.mark.parametrize("name", ["sparsenet40_24", "logdensenet_v1_12_16", "resnet18"])
def test_layer_decay_falls_towards_the_stem(name: str):
    network = timm.create_model(name)
    optimizer = make_optimizer(OptimConfig(layer_decay=0.5), network)
    names, scales = names_in_order(optimizer, network), {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            scales[id(parameter)] = group["lr_scale"]
    in_order = [scales[id(parameter)] for parameter in network.parameters()]
    assert len(names) == len(in_order)
    assert in_order[0] == min(in_order) < max(in_order) == in_order[-1] == 1


def test_layer_decay_is_checked_without_a_false_warning(caplog: pytest.LogCaptureFixture):
    config = OptimConfig(layer_decay=0.7)
    check_optimizer(config)
    check_layer_decay("sparsenet40_24", timm.create_model("sparsenet40_24"), config)
    check_layer_decay("small", small_network(), OptimConfig())
    assert not caplog.records
    with raises("optim.layer_decay", 0.7, "small", "group_matcher"):
        check_layer_decay("small", small_network(), config)


def gradients(network: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("mode", ["norm", "value", "agc"])
def test_gradients_are_clipped(mode: str):
    network = small_network()
    network(torch.randn(5, 3, 4, 4)).square().sum().backward()
    before = gradients(network)
    clip_gradients(OptimConfig(clip_grad=0.01, clip_mode=mode), network)
    after = gradients(network)
    if mode == "norm":
        norm = torch.cat([gradient.flatten() for gradient in before]).norm()
        expected = [gradient * 0.01 / norm for gradient in before]
    elif mode == "value":
        expected = [gradient.clamp(-0.01, 0.01) for gradient in before]
    else:  # per filter, norms and biases as a whole; the last layer is left alone
        expected = []
        for gradient, weight in zip(before[:-2], network.parameters(), strict=False):
            dims = tuple(range(1, weight.dim())) or (0,)
            most = 0.01 * torch.linalg.vector_norm(weight.detach(), dim=dims, keepdim=True).clamp(min=1e-3)
            own = torch.linalg.vector_norm(gradient, dim=dims, keepdim=True)
            expected.append(torch.where(own < most, gradient, gradient * most / own.clamp(min=1e-6)))
        expected += before[-2:]
    for ours, theirs in zip(after, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


def test_no_clipping_by_default():
    network = small_network()
    network(torch.randn(5, 3, 4, 4)).square().sum().backward()
    before = gradients(network)
    clip_gradients(OptimConfig(), network)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(gradients(network), before, strict=True))


def test_wrong_values_of_arguments_are_found_before_training():
    with pytest.raises(SkipweaveError) as caught:
        check_optimizer(OptimConfig("adamw", lr=0.1, args={"betas": [0.9, 2.0]}))
    assert "adamw" in str(caught.value)
    assert "2.0" in str(caught.value)


def test_groups_keep_what_they_count():
    network = small_network()
    optimizer = make_optimizer(OptimConfig("lamb", lr=0.01), network)
    take_steps(network, optimizer, seed=1)
    _, _, groups = pack(optimizer, names_in_order(optimizer, network))
    assert json.loads(json.dumps(groups)) == [{"step": 3}, {"step": 3}]


def test_groups_step_as_separate_optimizers_do():
    """The filters by Muon, biases by SGD, the rest by AdamW."""
    config = OptimConfig(
        "adamw",
        lr=0.01,
        weight_decay=0.1,
        groups=[
            dict(parameters=["0.weight"], name="muon", lr=0.02, momentum=0.6),
            dict(parameters=["*.bias"], name="sgd", lr=0.03, momentum=0.5, weight_decay=0.2),
        ],
    )
    ours, theirs = small_network(), small_network()
    optimizer = make_optimizer(config, ours)
    take_steps(ours, optimizer, seed=1)
    named = dict(theirs.named_parameters())
    biases = [named[name] for name in ("0.bias", "1.bias", "4.bias")]
    rest = [dict(params=[named["4.weight"]]), dict(params=[named["1.weight"]], weight_decay=0.0)]
    separate = [
        torch.optim.AdamW(rest, lr=0.01, weight_decay=0.1),
        timm.optim.create_optimizer_v2([named["0.weight"]], "muon", lr=0.02, momentum=0.6, weight_decay=1e-4),
        SGD(biases, lr=0.03, momentum=0.5, nesterov=True, weight_decay=0.2),
    ]
    torch.manual_seed(1)
    for _ in range(3):
        theirs.zero_grad()
        theirs(torch.randn(5, 3, 4, 4)).square().sum().backward()
        for each in separate:
            each.step()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter, named[name], rtol=1e-6, atol=1e-8)
    scales = {group["lr_scale"] for group in optimizer.param_groups if "lr_scale" in group}
    assert scales == {2.0, 3.0}


def test_groups_continue_exactly_from_their_state():
    config = OptimConfig(
        "muon", lr=0.02, normalize_filters=True, groups=[dict(parameters=["*.bias"], name="adamw", lr=0.01, epochs=2)]
    )
    network = small_network()
    optimizer = make_optimizer(config, network)
    take_steps(network, optimizer, seed=1)
    names = names_in_order(optimizer, network)
    again = deepcopy(network)
    other = make_optimizer(config, again)
    unpack(other, names, *deepcopy(pack(optimizer, names)))
    take_steps(network, optimizer, seed=2)
    take_steps(again, other, seed=2)
    pairs = zip(network.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_the_first_matching_group_has_a_parameter():
    groups = [dict(parameters=["4.bias", "1.*"], lr=0.1), dict(parameters=["*.bias"], lr=0.2)]
    network = small_network()
    network[1].weight.requires_grad_(False)
    optimizer = make_optimizer(OptimConfig(groups=groups), network)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    members = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
    assert members[-2:] == [["1.bias", "4.bias"], ["0.bias"]]
    assert sorted(name for group in members[:-2] for name in group) == ["0.weight", "4.weight"]
    assert [name for name, p in network.named_parameters() if not p.requires_grad] == ["1.weight"]


def test_groups_without_parameters_raise():
    config = OptimConfig(groups=[dict(parameters=["*.bias"]), dict(parameters=["4.bias"]), dict(parameters=["5.*"])])
    with raises("4.bias", "5.*"):
        check_groups("net", small_network(), config)


def test_filters_are_scaled_before_the_step():
    """Muon as in airbench94: momentum, three Newton-Schulz steps on the matrix of outputs by all else."""
    args = dict(ns_steps=3, ns_coefficients="original", adjust_lr_fn=None)
    config = OptimConfig("muon", lr=0.1, momentum=0.6, nesterov=True, weight_decay=0, normalize_filters=True, args=args)
    filters = nn.Conv2d(5, 6, 3, bias=False)
    optimizer = make_optimizer(config, filters)
    expected, momentum = filters.weight.detach().clone(), torch.zeros_like(filters.weight)
    for seed in range(3):
        torch.manual_seed(seed)
        gradient = filters.weight.grad = torch.randn_like(filters.weight)
        momentum = 0.6 * momentum + gradient
        direction = (gradient + 0.6 * momentum).flatten(1)
        direction /= direction.norm()
        for _ in range(3):
            gram = direction @ direction.T
            direction = 3.4445 * direction + (-4.775 * gram + 2.0315 * gram @ gram) @ direction
        expected *= 6**0.5 / expected.norm()
        expected -= 0.1 * direction.view_as(expected)
        optimizer.step()
    torch.testing.assert_close(filters.weight, expected, rtol=0, atol=0.02)  # timm's iteration is in bfloat16
