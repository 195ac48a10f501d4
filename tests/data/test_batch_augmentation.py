import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import pad

from skipweave.data.batch_augmentation import BatchAugmentation

IMAGES = torch.randn(1, 2, 6, 8, generator=torch.Generator().manual_seed(0)).expand(4000, -1, -1, -1)


def augmented(images=IMAGES, first=0, seed=0, epoch=0, **options):
    samples = np.arange(first, first + len(images))
    return BatchAugmentation(options.pop("normalize", None), **options)(images, samples, seed=seed, epoch=epoch)


def shares(outputs, candidates):
    """How many of the outputs equal each candidate; every output equals one."""
    counts = [sum(torch.equal(output, candidate) for output in outputs) for candidate in candidates]
    assert sum(counts) == len(outputs)
    return np.array(counts) / len(outputs)


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_every_shift_is_equally_probable(padding):
    padded = pad(IMAGES[:1], [1] * 4, mode="constant" if padding == "zeros" else "reflect")[0]
    candidates = [padded[:, top : top + 6, left : left + 8] for top in range(3) for left in range(3)]
    assert np.abs(shares(augmented(shift=1, padding=padding), candidates) - 1 / 9).max() < 0.02


@pytest.mark.parametrize(
    ("flip", "dims"),
    [
        ("none", [[]]),
        ("horizontal", [[], [-1]]),
        ("vertical", [[], [-2]]),
        ("both", [[], [-1], [-2], [-1, -2]]),
        ("alternating", [[], [-1]]),
    ],
)
def test_every_flip_is_equally_probable(flip, dims):
    found = shares(augmented(flip=flip), [IMAGES[0].flip(dim) for dim in dims])
    assert np.abs(found - 1 / len(dims)).max() < 0.04


def test_alternating_flips_turn_every_image_in_every_second_epoch():
    first, second, third = (augmented(flip="alternating", epoch=epoch) for epoch in range(3))
    assert torch.equal(first, second.flip(-1))
    assert torch.equal(first, third)
    assert not torch.equal(first, augmented(flip="alternating", seed=1))


def test_cutout_clears_a_square_around_any_pixel():
    cleared = augmented(torch.ones(1, 1, 6, 8).expand(4000, -1, -1, -1), cutout=3)[:, 0] == 0
    rows, columns = cleared.any(2), cleared.any(1)
    assert torch.equal(cleared, rows[:, :, None] & columns[:, None, :])
    assert set(rows.sum(1).tolist()) == set(columns.sum(1).tolist()) == {2, 3}  # two at the border
    center = cleared.float().mean(0)
    assert (center[1:-1, 1:-1] - 9 / 48).abs().max() < 0.03


def test_images_are_normalized_first_so_that_padding_is_the_mean():
    outputs = augmented(torch.full((200, 1, 4, 4), 5.0), normalize=lambda images: images - 3, shift=2)
    assert set(outputs.unique().tolist()) == {0.0, 2.0}


def test_black_padding_is_black_before_normalization():
    images = torch.full((200, 2, 4, 4), 5.0)
    outputs = augmented(images, normalize=lambda images: images - 3, shift=2, padding="black", black=(-3.0, -7.0))
    for channel, black in enumerate((-3.0, -7.0)):
        assert set(outputs[:, channel].unique().tolist()) == {black, 2.0}
    zeros = augmented(images, normalize=lambda images: images - 3, shift=2)
    assert torch.equal(outputs == 2, zeros == 2)


@given(st.integers(0, 2**40), st.integers(0, 1000), st.integers(0, 3900), st.integers(1, 30))
def test_a_sample_is_transformed_alike_in_any_batch(seed, epoch, first, size):
    options = {"flip": "both", "shift": 2, "cutout": 2, "seed": seed, "epoch": epoch}
    images = torch.arange(40 * 48.0).view(40, 1, 6, 8)
    whole = augmented(images, first=first, **options)
    part = augmented(images[3 : 3 + size], first=first + 3, **options)
    assert torch.equal(whole[3 : 3 + size], part)


def test_epochs_and_seeds_differ():
    outputs = [augmented(shift=2, seed=seed, epoch=epoch) for seed in range(2) for epoch in range(2)]
    assert not any(torch.equal(one, other) for index, one in enumerate(outputs) for other in outputs[:index])
