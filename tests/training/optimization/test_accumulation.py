"""Several batches per step: the mean of their gradients, clipped once."""

from collections.abc import Callable, Iterator
from copy import deepcopy

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import Tensor
from torch.nn import functional

from skipweave.data import batch_indices, load
from skipweave.training import FitConfig, ModelConfig, OptimConfig, fit, loop
from skipweave.training.distributed.devices import make_fabric
from skipweave.training.learner import Learner
from skipweave.training.tasks.task import Classification
from skipweave_config.errors import SkipweaveError

Tiny = Callable[..., FitConfig]


def test_a_step_takes_the_mean_gradient_and_clips_it_once():
    torch.manual_seed(0)
    batches = [(torch.randn(6, 3, 8, 8), torch.randint(5, (6,))) for _ in range(3)]
    args = {"units": 1, "growth": 4, "num_classes": 5, "in_chans": 3}
    optim = OptimConfig(accumulate=3, clip_grad=0.05, decay_norms_and_biases=True)
    config = FitConfig(model=ModelConfig("sparsenet40_24"), optim=optim, accelerator="cpu", precision="64-true")
    learner = Learner(make_fabric("cpu", precision="64-true"), config, args, Classification(5))
    network = deepcopy(learner.network).train()
    learner.start_epoch()
    for number, batch in enumerate(batches, start=1):
        learner.backward(*batch, [1.0], number == 3)
    learner.optimizer_step(0.1)

    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    losses = [functional.cross_entropy(network(images.double()).float(), labels) for images, labels in batches]
    torch.stack(losses).mean().backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 0.05)
    optimizer.step()
    for (name, ours), theirs in zip(learner.network.state_dict().items(), network.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9, msg=name)
    assert all(parameter.grad is None for parameter in learner.network.parameters())


def test_the_batches_of_a_step_are_consecutive(tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    real, sizes, steps = loop.epoch_loader, [], []

    def watched(*args: object, **options: object) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in real(*args, **options):  # type: ignore[arg-type]
            if options["shuffle"]:
                sizes.append(labels)
            yield images, labels

    monkeypatch.setattr(loop, "epoch_loader", watched)
    monkeypatch.setattr(Learner, "optimizer_step", lambda self, *rates: steps.append(len(sizes)))
    config = tiny(epochs=1, batch_size=50, optim=OptimConfig(accumulate=4))
    fit(config)
    assert steps == [4, 8, 12]  # 738 images
    data = load(config.data)
    indices = batch_indices(len(data.train), 200, seed=0, epoch=0, step=1)
    assert torch.cat(sizes[4:8]).tolist() == [int(data.train[index][1]) for index in indices]


def test_too_few_images_for_a_step(tiny: Tiny):
    with pytest.raises(SkipweaveError, match=r"batch_size is 400 and optim\.accumulate 2, but there are only 738"):
        fit(tiny(batch_size=400, optim=OptimConfig(accumulate=2)))


def test_gradients_are_clipped_without_the_loss_scale_of_float16():
    torch.manual_seed(0)
    args = {"units": 1, "growth": 4, "num_classes": 5, "in_chans": 3}
    optim = OptimConfig(momentum=0, weight_decay=0.0, clip_grad=0.01)
    config = FitConfig(model=ModelConfig("sparsenet40_24"), optim=optim, accelerator="cpu")
    precision = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=256.0))
    learner = Learner(Fabric(accelerator="cpu", devices=1, plugins=[precision]), config, args, Classification(5))
    before = [parameter.detach().clone() for parameter in learner.network.parameters()]
    learner.start_epoch()
    learner.backward(torch.randn(6, 3, 8, 8), torch.randint(5, (6,)), [1.0])
    learner.optimizer_step(0.1)
    changes = [(now - then).flatten() for now, then in zip(learner.network.parameters(), before, strict=True)]
    assert torch.cat(changes).norm().item() == pytest.approx(0.1 * 0.01, rel=1e-2)
