"""Test-time augmentation equals its definition, and is none for heads that do not care."""

import torch
from torch.nn import functional

from skipweave.training.tasks.test_time_augmentation import augmented
from tests.errors import raises

WEIGHT = torch.randn(4, 3 * 6 * 5, generator=torch.Generator().manual_seed(0))


def heads(images: torch.Tensor) -> list[torch.Tensor]:
    return [functional.linear(images.flatten(1), WEIGHT)]


def test_flips_and_shifts_are_weighted_as_documented():
    images = torch.randn(2, 3, 6, 5)
    padded = functional.pad(images, (1, 1, 1, 1), mode="reflect")
    mirrored = [(heads(x)[0] + heads(x.flip(-1))[0]) / 2 for x in (images, padded[..., :-2, :-2], padded[..., 2:, 2:])]
    torch.testing.assert_close(augmented(heads, "flip")(images)[0], mirrored[0])
    expected = mirrored[0] / 2 + mirrored[1] / 4 + mirrored[2] / 4
    torch.testing.assert_close(augmented(heads, "flip_shift")(images)[0], expected)
    assert torch.equal(augmented(heads, "none")(images)[0], heads(images)[0])


def test_masks_of_mirror_images_are_mirrored():
    images = torch.randn(2, 3, 6, 5)
    found = augmented(lambda x: [x[:, :2]], "flip", pixels=True)(images)
    torch.testing.assert_close(found[0], images[:, :2])
    with raises("tta", "'flip_shift'"):
        augmented(heads, "flip_shift", pixels=True)
