"""Dice and focal losses, alone and in sums: against plain definitions in float64, and against SMP."""

import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segmentation_models_pytorch.losses._functional import softmax_focal_loss_with_logits

from skipweave.training.tasks.deep_supervision import halves_loss_weights
from skipweave.training.tasks.segmentation_losses import (
    deep_loss,
    soft_cross_entropy,
    soft_dice,
    soft_focal,
    soft_label_pyramid,
)

CLASSES = 4
WEIGHTS = torch.tensor([0.5, 2.0, 0.0, 1.0], dtype=torch.float64)
NAMES = ["dice", "focal", "dice+cross_entropy", "dice+focal"]


def batch(height: int = 6, width: int = 5, seed: int = 0, void: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels of which some are void."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, CLASSES, height, width, dtype=torch.float64, generator=generator)
    return logits, torch.randint(0, CLASSES + void, (2, height, width), generator=generator)


def naive(name: str, logits: torch.Tensor, labels: torch.Tensor, weights: list[float]) -> float:
    """The definition for hard labels, pixel by pixel and class by class."""
    pixels = [
        (logits[n, :, y, x].softmax(0).tolist(), int(label))
        for n, image in enumerate(labels)
        for y, row in enumerate(image)
        for x, label in enumerate(row)
        if label < CLASSES
    ]
    if not pixels:
        return 0.0
    if name == "focal":
        logs = [weights[label] * (1 - p[label]) ** 2 * -torch.tensor(p[label]).double().log() for p, label in pixels]
        return float(sum(logs)) / len(pixels)
    present = {label for _, label in pixels}
    losses = {}
    for c in present:
        hits = sum(p[c] for p, label in pixels if label == c)
        both = sum(p[c] + (label == c) for p, label in pixels)
        losses[c] = 1 - 2 * hits / both
    total = sum(weights[c] for c in present)
    return sum(weights[c] * losses[c] for c in present) / total if total else 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99), st.booleans())
@pytest.mark.parametrize("name", ["dice", "focal"])
def test_the_loss_is_its_definition(name, height, width, seed, weighted):
    logits, labels = batch(height, width, seed)
    found = deep_loss([logits], labels, (1.0,), WEIGHTS if weighted else None, name)
    expected = naive(name, logits, labels, WEIGHTS.tolist() if weighted else [1.0] * CLASSES)
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_dice_is_that_of_smp_where_every_class_occurs():
    logits, labels = batch()
    assert set(labels.unique().tolist()) == set(range(CLASSES + 1))
    theirs = smp.losses.DiceLoss("multiclass", ignore_index=CLASSES)(logits, labels)
    torch.testing.assert_close(deep_loss([logits], labels, (1.0,), None, "dice"), theirs)
    weights = [0.5, 2.0, 1.0, 1.0]
    theirs = smp.losses.DiceLoss("multiclass", ignore_index=CLASSES, class_weights=weights)(logits, labels)
    torch.testing.assert_close(deep_loss([logits], labels, (1.0,), torch.tensor(weights), "dice"), theirs.double())


def test_focal_is_that_of_smp_without_void():
    logits, labels = batch(void=False)
    found = deep_loss([logits], labels, (1.0,), None, "focal")
    torch.testing.assert_close(found, softmax_focal_loss_with_logits(logits, labels))


@pytest.mark.parametrize("name", NAMES)
def test_sums_and_heads_are_weighted(name):
    logits, labels = batch()
    coarse = logits[:, :, :3, :3].contiguous()
    targets = soft_label_pyramid(labels, CLASSES, 1)
    one = {"dice": soft_dice, "focal": soft_focal, "cross_entropy": soft_cross_entropy}
    expected = sum(
        by * one[term](head, target, WEIGHTS)
        for by, head, target in zip(halves_loss_weights(2), (coarse, logits), reversed(targets), strict=True)
        for term in name.split("+")
    )
    torch.testing.assert_close(deep_loss([coarse, logits], labels, halves_loss_weights(2), WEIGHTS, name), expected)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_differences_and_zero_where_void(name):
    logits, labels = batch()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda head: deep_loss([head], labels, (1.0,), WEIGHTS, name), logits, atol=1e-7)
    deep_loss([logits], labels, (1.0,), None, name).backward()
    assert torch.equal(logits.grad.abs().sum(1) == 0, labels == CLASSES)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_labeled_pixel_loss_and_gradients_are_zero(name):
    logits, labels = batch()
    logits.requires_grad_()
    loss = deep_loss([logits], torch.full_like(labels, CLASSES), (1.0,), None, name)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.eq(0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_large_logits_stay_finite(name, kind):
    logits, labels = batch()
    head = (logits * 5e3).to(kind).requires_grad_()
    loss = deep_loss([head], labels, (1.0,), WEIGHTS.float(), name)
    loss.backward()
    assert loss.isfinite()
    assert loss.dtype == torch.float32
    assert head.grad.isfinite().all()


def test_dice_is_zero_for_probabilities_equal_to_soft_labels():
    _, labels = batch(8, 8, void=False)
    targets = soft_label_pyramid(labels, CLASSES, 2)[2]
    assert soft_dice(targets.clamp(min=1e-30).log(), targets).item() == pytest.approx(0, abs=1e-6)
