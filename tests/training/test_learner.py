"""The training step against its definition, and the learner's state."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from skipweave.training import FitConfig, ModelConfig, OptimConfig
from skipweave.training.checkpoint.tensor_file import open_saved, save
from skipweave.training.distributed.devices import make_fabric
from skipweave.training.learner import Learner
from skipweave.training.tasks.task import Classification
from tests.errors import raises

ARGS = {"units": 1, "growth": 4, "num_classes": 5, "in_chans": 3}


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(6, 3, 8, 8), torch.randint(5, (6,))


def make(**changes: object) -> Learner:
    model = ModelConfig("sparsenet40_24", {"units": 1, "growth": 4})
    config = FitConfig(model=model, accelerator="cpu", precision="64-true", **changes)
    return Learner(make_fabric("cpu", precision="64-true"), config, ARGS, Classification(5))


def test_steps_are_those_of_the_definition(batch: tuple[torch.Tensor, torch.Tensor]):
    """Nesterov momentum and weight decay, at another learning rate in each step."""
    learner = make(optim=OptimConfig(weight_decay=0.01, decay_norms_and_biases=True))
    expected = deepcopy(learner.network).train()
    optimizer = torch.optim.SGD(expected.parameters(), 1.0, momentum=0.9, nesterov=True, weight_decay=0.01)
    images, labels = batch
    learner.start_epoch()
    for lr in (0.1, 0.01):
        sums = learner.backward(images, labels, [1.0])
        learner.optimizer_step(lr)
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        logits = expected(images.double()).float()  # as Fabric returns them
        loss = functional.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        wrong = (logits.argmax(1) != labels).sum().item()
        hits = sums[3:].view(3, -1)[0].sum()
        assert [*sums[:2].tolist(), hits] == pytest.approx([6 * loss.item(), 6, 6 - wrong], rel=1e-6)
    for (name, ours), theirs in zip(learner.network.state_dict().items(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9, msg=name)


def test_a_loaded_state_continues_alike(batch: tuple[torch.Tensor, torch.Tensor], tmp_path: Path):
    learner, again = make(), make(seed=1)
    learner.start_epoch()
    learner.backward(*batch, [1.0])
    learner.optimizer_step(0.1)
    tensors, values = learner.state()
    save(tmp_path / "state.safetensors", tensors, values)
    again.load_state(open_saved(tmp_path / "state.safetensors"))
    for one in (learner, again):
        one.start_epoch()
        one.backward(*batch, [1.0])
        one.optimizer_step(0.1)
    for name, tensor in learner.state()[0].items():
        assert torch.equal(tensor, again.state()[0][name]), name


def test_the_state_of_another_network_raises(tmp_path: Path):
    learner = make()
    tensors, values = learner.state()
    tensors.popitem()
    save(tmp_path / "state.safetensors", tensors, values)
    with raises("sparsenet40_24"):
        make().load_state(open_saved(tmp_path / "state.safetensors"))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("place", ["weight", "statistic", "moment"])
def test_any_non_finite_value_is_found(batch: tuple[torch.Tensor, torch.Tensor], place: str, value: float):
    learner = make()
    learner.start_epoch()
    learner.backward(*batch, [1.0])
    learner.optimizer_step(0.1)
    assert learner.is_finite()
    tensors = {
        "weight": next(learner.network.parameters()).data,
        "statistic": next(b for name, b in learner.network.named_buffers() if name.endswith("running_var")),
        "moment": next(iter(learner.optimizer.state.values()))["momentum_buffer"],
    }
    tensors[place][(0,) * tensors[place].dim()] = value
    assert not learner.is_finite()


def test_groups_have_rates_and_epochs_of_their_own(batch: tuple[torch.Tensor, torch.Tensor]):
    groups = [dict(parameters=["stem.*"], epochs=2), dict(parameters=["head.fc.*"], lr=0.2)]
    learner = make(optim=OptimConfig(momentum=0.0, weight_decay=0.0, groups=groups), epochs=3)
    stem, head = learner.network.stem.conv.weight, learner.network.head.fc.weight
    for epoch in range(3):
        learner.start_epoch(epoch)
        learner.backward(*batch, [1.0])
        before = [weight.detach().clone() for weight in (stem, head)]
        gradients = [weight.grad for weight in (stem, head)]
        learner.optimizer_step(0.05, {2: 0.03})
        torch.testing.assert_close(head, before[1] - 0.1 * gradients[1])  # twice the rate of the others
        if epoch < 2:
            torch.testing.assert_close(stem, before[0] - 0.03 * gradients[0])
    assert gradients[0] is None
    assert torch.equal(stem, before[0])
