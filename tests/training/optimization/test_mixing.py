"""Mixup, CutMix and label smoothing: what is computed, when, and for which data."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from skipweave.data import DataConfig
from skipweave.training import FitConfig, LossConfig, MixConfig, ModelConfig, ProgressiveConfig
from skipweave.training.distributed.devices import make_fabric
from skipweave.training.learner import Learner
from skipweave.training.optimization.mixing import make_mixer
from skipweave.training.tasks.task import Classification
from skipweave_config.errors import SkipweaveError

Tiny = Callable[..., FitConfig]


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 4, 1])


def test_nothing_is_mixed_by_default():
    assert make_mixer(MixConfig(), 5) is None


def test_mixup_adds_images_and_labels_of_neighbors(batch):
    images, labels = batch
    mixer = make_mixer(MixConfig(mixup=0.5), 5)
    assert mixer
    mixed, targets = mixer(images, labels)
    weight = targets[1, 1].item()
    assert 0 < weight < 1
    torch.testing.assert_close(mixed, weight * images + (1 - weight) * images.roll(1, 0))
    one_hot = functional.one_hot(labels, 5).float()
    torch.testing.assert_close(targets, weight * one_hot + (1 - weight) * one_hot.roll(1, 0))


def test_cutmix_weighs_labels_by_area(batch):
    images, labels = batch
    mixer = make_mixer(MixConfig(cutmix=1.0), 5)
    assert mixer
    mixed, targets = mixer(images, labels)
    kept = (mixed == images).all(1).float().mean((1, 2))
    torch.testing.assert_close(targets[range(6), labels], kept)
    torch.testing.assert_close(targets.sum(1), torch.ones(6))


def test_both_are_chosen_at_random_and_some_batches_stay(batch):
    images, labels = batch
    mixer = make_mixer(MixConfig(mixup=1.0, cutmix=1.0, probability=0.7), 5)
    assert mixer
    kinds = []
    for seed in range(300):
        torch.manual_seed(seed)
        mixed, targets = mixer(images, labels)
        again = mixer(images, labels) if torch.manual_seed(seed) else None
        assert again
        assert torch.equal(again[0], mixed)
        pixels = (mixed == images).float().mean().item()
        kinds.append("none" if targets is labels else "mixup" if pixels < 0.01 else "cutmix")
    assert kinds.count("none") == pytest.approx(90, abs=30)
    assert kinds.count("mixup") == pytest.approx(105, abs=35)


def make(epochs: int = 3, **changes: object) -> Learner:
    config = FitConfig(ModelConfig("sparsenet40_24"), epochs=epochs, accelerator="cpu", **changes)
    args = {"units": 1, "growth": 4, "num_classes": 5, "in_chans": 3}
    return Learner(make_fabric("cpu"), config, args, Classification(5, label_smoothing=config.loss.label_smoothing))


def test_the_loss_has_soft_labels_and_errors_count_the_heavier_one(batch):
    images, labels = batch
    learner = make(mix=MixConfig(mixup=1.0), loss=LossConfig(label_smoothing=0.1))
    learner.start_epoch(0)
    torch.manual_seed(3)
    sums = learner.backward(images, labels, [1.0])
    torch.manual_seed(3)
    mixer = make_mixer(MixConfig(mixup=1.0), 5)
    assert mixer
    mixed, targets = mixer(images, labels)
    logits = learner.network(mixed)
    smooth = 0.9 * targets + 0.1 / 5
    loss = -(smooth * logits.log_softmax(1)).sum(1).mean()
    wrong = (logits.argmax(1) != targets.argmax(1)).sum()
    hits = sums[3:].view(3, -1)[0].sum()
    assert [*sums[:2].tolist(), hits] == pytest.approx([6 * loss.item(), 6, 6 - wrong.item()], rel=1e-5)


def test_final_epochs_are_not_mixed(batch):
    images, labels = batch
    learner = make(mix=MixConfig(mixup=1.0, last_epochs=1))
    losses = []
    for epoch in range(3):
        learner.start_epoch(epoch)
        torch.manual_seed(0)
        losses.append(learner.backward(images, labels, [1.0])[0].item())
    plain = functional.cross_entropy(learner.network(images), labels).item()
    assert losses[0] == losses[1] != losses[2]
    assert losses[2] == pytest.approx(6 * plain, rel=1e-5)


def test_masks_are_neither_mixed_nor_smoothed_nor_resized():
    with pytest.raises(SkipweaveError) as caught:
        FitConfig(
            data=DataConfig("masks", root=Path("x")),
            loss=LossConfig(label_smoothing=0.1),
            mix=MixConfig(mixup=0.2, cutmix=1),
            progressive=ProgressiveConfig(epochs=(2,)),
        )
    first, second, third = caught.value.problems
    assert first.startswith("loss: label_smoothing is not for the segmentation masks of masks")
    assert second.startswith("mix: mixup and cutmix cannot mix the segmentation masks of masks")
    assert third.startswith("progressive: epochs is 2, but masks has masks")
