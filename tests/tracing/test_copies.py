"""Copies keep hooks, ties and attributes; replicas do not change the original."""

from functools import partial
from threading import Lock
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from skipweave.tracing.copies import computes_weights, copied, has_hooks, in_mode, on_meta, replica, tensors_of
from skipweave.tracing.example_inputs import Inputs
from skipweave.tracing.replicas import run
from tests.errors import raises


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1))


IMAGES = Inputs((torch.randn(2, 3, 5, 5),))


def fire(fired: list[str], name: str, *_: Any) -> None:
    fired.append(name)


class Collector:
    """An object with hooks that stands outside networks."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def note(self, *args: Any) -> None:
        self.seen.append(args)

    def __call__(self, *args: Any) -> None:
        self.seen.append(args)


class WithOwnHooks(nn.Module):
    """Collects features by hooks, as timm's `FeatureHookNet` does."""

    def __init__(self) -> None:
        super().__init__()
        self.body = layers()
        self.found: list[Tensor] = []
        self.body[2].register_forward_hook(self.collect)

    def collect(self, part: nn.Module, args: Any, made: Tensor) -> None:
        self.found.append(made)

    def forward(self, x: Tensor) -> list[Tensor]:
        self.found.clear()
        self.body(x)
        return list(self.found)


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_user_hooks_are_copied_and_do_not_run_in_replicas(register: str) -> None:
    fired: list[str] = []
    collector, model = Collector(), layers()
    for hook in (lambda *_: fired.append("lambda"), partial(fire, fired, "partial"), collector.note, collector):
        getattr(model[0], register)(hook)
    assert has_hooks(model[0])
    for twin in (replica(model), on_meta(model)):
        run(twin, IMAGES if twin[0].weight.device.type == "cpu" else IMAGES.map(lambda x: x.to("meta")))
    assert (fired, collector.seen) == ([], [])
    copied(model)(*IMAGES.args)
    assert (fired, len(collector.seen)) == (["lambda", "partial"], 2)


def test_hooks_of_the_network_run_in_replicas_on_replica_tensors() -> None:
    model = WithOwnHooks().eval()
    expected = model(*IMAGES.args)
    model.found.clear()
    for twin in (replica(model), copied(model)):
        torch.testing.assert_close(run(twin, IMAGES), expected)
    assert model.found == []


def test_global_hooks_do_not_run() -> None:
    fired: list[str] = []
    handle = nn.modules.module.register_module_forward_hook(partial(fire, fired, "global"))
    try:
        run(replica(layers()), IMAGES)
        assert fired == []
        layers()(*IMAGES.args)
        assert len(fired) == 5
    finally:
        handle.remove()


@pytest.mark.parametrize("register", ["register_hook", "register_post_accumulate_grad_hook"])
def test_attributes_of_parameters_and_hooks_on_gradients_are_copied(register: str) -> None:
    fired: list[str] = []
    model = layers()
    model[0].weight.note = "mine"
    getattr(model[0].weight, register)(lambda *_: fired.append("gradient"))
    made = copied(model)
    assert made[0].weight.note == "mine"
    made(*IMAGES.args).sum().backward()
    assert fired == ["gradient"]
    assert model[0].weight.grad is None


def test_tied_parameters_remain_tied_and_share_no_memory_with_the_original() -> None:
    model = layers()
    model.append(nn.Conv2d(4, 4, 1))
    model[4].weight = model[3].weight
    model[3].requires_grad_(False)
    model[1].eval()
    made = copied(model)
    assert made[4].weight is made[3].weight
    assert made[3].weight is not model[3].weight
    assert [p.requires_grad for p in made.parameters()] == [p.requires_grad for p in model.parameters()]
    assert [part.training for part in made.modules()] == [part.training for part in model.modules()]


@pytest.mark.parametrize(
    "attach",
    [
        weight_norm,
        spectral_norm,
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        partial(prune.l1_unstructured, name="weight", amount=0.5),
    ],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_computed_weights(attach: Any) -> None:
    model = layers()
    attach(model[0])
    model(*IMAGES.args)  # leaves a weight that is no leaf
    model.eval()
    expected = model(*IMAGES.args)
    for twin in (replica(model), in_mode(copied(model), training=False)):
        torch.testing.assert_close(run(twin, IMAGES), expected)
    assert not has_hooks(model[0])
    assert computes_weights(model[0]) == (not nn.utils.parametrize.is_parametrized(model[0]))


def test_replicas_do_not_change_the_network() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)
            self.calls = 0
            self.register_buffer("seen", torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.last = x
            self.seen += x.mean((0, 2, 3))
            with torch.no_grad():
                self.norm.weight.mul_(2)
            return self.norm(x) + torch.rand(()) * torch.tensor(0.0)

    model = Counting()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    run(in_mode(replica(model), training=True), IMAGES)
    torch.testing.assert_close(dict(model.state_dict()), state, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random)
    assert (model.calls, model.training, hasattr(model, "last")) == (0, True, False)


def test_inputs_modified_in_place_are_restored() -> None:
    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sub_(1)

    inputs = Inputs((torch.ones(2, 3, 4, 4),))
    for _ in range(2):
        assert run(replica(InPlace()), inputs).eq(0).all()
    assert inputs.args[0].eq(1).all()


def test_replicas_call_the_networks_own_eval() -> None:
    class Fast(nn.Module):
        fast = False

        def train(self, mode: bool = True) -> None:  # type: ignore[override]
            super().train(mode)
            self.fast = not mode

    assert replica(Fast()).fast


def test_networks_that_cannot_be_copied() -> None:
    model = layers()
    model.lock = Lock()
    for copy in (copied, replica, on_meta):
        with raises("Sequential", "lock"):
            copy(model)


def test_tensors_in_module_attributes_are_found() -> None:
    model = layers()
    model[2].table = {"deep": [torch.zeros(2), (torch.ones(3),)]}
    places = dict(tensors_of(model))
    assert {"0.weight", "1.running_mean", "2.table[0]", "2.table[1]"} <= places.keys()
    assert on_meta(model)[2].table["deep"][0].is_meta
