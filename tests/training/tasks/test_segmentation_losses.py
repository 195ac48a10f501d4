import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from skipweave.training.tasks.deep_supervision import halves_loss_weights
from skipweave.training.tasks.segmentation_losses import (
    deep_loss,
    hard_cross_entropy,
    predicted_mask,
    scale_of,
    soft_cross_entropy,
    soft_label_pyramid,
)
from tests.errors import raises

CLASSES = 4
WEIGHTS = torch.tensor([0.3, 1.0, 2.5, 15.0], dtype=torch.float64)


def random_labels(height, width, batch=2, seed=0):
    """Labels with void among them, 4 and also -1."""
    return torch.randint(-1, CLASSES + 1, (batch, height, width), generator=torch.Generator().manual_seed(seed))


def naive_targets(labels, scale):
    """Soft labels of one image, pixel by pixel."""
    shares = [[[float(label == c) for c in range(CLASSES)] for label in row] for row in labels.tolist()]
    for _ in range(scale):
        height, width = len(shares), len(shares[0])
        pooled = []
        for top in range(0, height, 2):
            pooled.append([])
            for left in range(0, width, 2):
                window = [
                    shares[y][x] for y in range(top, min(top + 2, height)) for x in range(left, min(left + 2, width))
                ]
                pooled[-1].append([sum(pixel[c] for pixel in window) / len(window) for c in range(CLASSES)])
        shares = pooled
    return shares


def naive_loss(logits, labels, scale):
    """The definition, in Python floats."""
    total, valid = 0.0, 0
    for scores, image in zip(logits.tolist(), labels, strict=True):
        for y, row in enumerate(naive_targets(image, scale)):
            for x, target in enumerate(row):
                if sum(target) > 0.5:
                    here = [scores[c][y][x] for c in range(CLASSES)]
                    log_sum = math.log(sum(math.exp(value) for value in here))
                    total -= sum(WEIGHTS[c].item() * target[c] * (here[c] - log_sum) for c in range(CLASSES))
                    valid += 1
    return total / max(valid, 1)


def size_at(scale, height, width):
    for _ in range(scale):
        height, width = -(-height // 2), -(-width // 2)
    return height, width


def random_head(labels, scale, seed=1):
    size = size_at(scale, *labels.shape[1:])
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(labels), CLASSES, *size, dtype=torch.float64, generator=generator)


@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 4), st.integers(0, 99))
def test_soft_labels_are_the_fractions_of_the_pixels(height, width, scale, seed):
    labels = random_labels(height, width, seed=seed)
    expected = torch.tensor([naive_targets(image, scale) for image in labels]).permute(0, 3, 1, 2)
    assert torch.equal(soft_label_pyramid(labels, CLASSES, scale)[scale], expected)


@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 4), st.integers(0, 99))
def test_the_loss_is_its_definition(height, width, scale, seed):
    labels = random_labels(height, width, seed=seed)
    logits = random_head(labels, scale)
    found = soft_cross_entropy(logits, soft_label_pyramid(labels, CLASSES, scale)[scale], WEIGHTS)
    assert found.item() == pytest.approx(naive_loss(logits, labels, scale), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("kind", [torch.int64, torch.uint8])
def test_the_hard_loss_is_the_soft_one_at_scale_0(weights, kind):
    labels = random_labels(7, 6).abs().to(kind)
    hard, soft = (random_head(labels, 0).requires_grad_() for _ in range(2))
    losses = [
        hard_cross_entropy(hard, labels, weights),
        soft_cross_entropy(soft, soft_label_pyramid(labels, 4, 0)[0], weights),
    ]
    torch.testing.assert_close(*losses)
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(hard.grad, soft.grad)


def test_gradients_are_those_of_differences():
    labels = random_labels(5, 6)
    heads = tuple(random_head(labels, scale).requires_grad_() for scale in (1, 2, 0))
    assert torch.autograd.gradcheck(
        lambda *heads: deep_loss(heads, labels, halves_loss_weights(3), WEIGHTS), heads, atol=1e-7
    )


def test_heads_count_by_their_loss_weights():
    labels = random_labels(9, 6)
    scales = (0, 2, 3, 0)
    heads = [random_head(labels, scale, seed) for seed, scale in enumerate(scales)]
    expected = sum(
        share * naive_loss(head, labels, scale)
        for head, scale, share in zip(heads, scales, halves_loss_weights(4), strict=True)
    )
    assert deep_loss(heads, labels, halves_loss_weights(4), WEIGHTS).item() == pytest.approx(expected, rel=1e-12)


def test_a_head_of_weight_zero_gets_no_gradient():
    labels = random_labels(4, 4)
    broken = torch.full((2, CLASSES, 2, 2), math.nan, requires_grad=True)
    last = random_head(labels, 0)
    loss = deep_loss([broken, last], labels, (0.0, 1.0), WEIGHTS)
    torch.testing.assert_close(loss, hard_cross_entropy(last, labels, WEIGHTS))


@pytest.mark.parametrize("scale", [0, 1])
def test_without_a_labeled_pixel_loss_and_gradients_are_zero(scale):
    labels = torch.full((1, 4, 4), CLASSES)
    head = random_head(labels, scale).requires_grad_()
    loss = deep_loss([head], labels, (1.0,))
    loss.backward()
    assert loss.item() == 0
    assert head.grad.eq(0).all()


@pytest.mark.parametrize("scale", [0, 1])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_large_logits_stay_finite(scale, kind):
    labels = random_labels(4, 4)
    head = (random_head(labels, scale) * 1e4).to(kind).requires_grad_()
    loss = deep_loss([head], labels, (1.0,), WEIGHTS.float())
    loss.backward()
    assert loss.isfinite()
    assert loss.dtype == torch.float32
    assert head.grad.isfinite().all()


def test_void_pixels_get_no_gradient():
    labels = random_labels(6, 6)
    head = random_head(labels, 0).requires_grad_()
    hard_cross_entropy(head, labels).backward()
    void = (labels < 0) | (labels >= CLASSES)
    assert torch.equal(head.grad.abs().sum(1) == 0, void)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 7))
def test_scales_follow_from_sizes(height, width, scale):
    labels = torch.zeros(1, height, width)
    size = size_at(scale, height, width)
    found = scale_of(torch.zeros(1, 2, *size), labels)
    assert found <= scale
    assert size_at(found, height, width) == size
    assert found == scale or size == (1, 1)


def test_a_head_of_another_size_raises():
    with raises("3 x 4", "8 x 8"):
        deep_loss([torch.zeros(1, 2, 3, 4)], torch.zeros(1, 8, 8), (1.0,))
    with raises(1, 2):
        deep_loss([torch.zeros(1, 2, 8, 8)], torch.zeros(1, 8, 8), (0.5, 0.5))


def test_predicted_masks_have_the_size_of_the_images():
    logits = torch.zeros(1, 3, 2, 3)
    logits[:, 1, :, 0] = logits[:, 2, :, 1:] = 5
    assert predicted_mask(logits, (2, 3)).tolist() == [[[1, 2, 2]] * 2]
    assert predicted_mask(logits.half(), (5, 7)).shape == (1, 5, 7)
    assert torch.equal(predicted_mask(logits, (4, 6)), F.interpolate(logits, size=(4, 6), mode="bilinear").argmax(1))
