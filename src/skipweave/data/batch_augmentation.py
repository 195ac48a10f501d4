"""Augmentation of all images of a batch at once, several times faster than one by one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from skipweave.data.seeding import draw
from skipweave.data.splits import Indices

Transform = Callable[[Tensor], Tensor]

# What a random number is for; its value is part of the seed.
_FLIP, _VERTICAL, _TOP, _LEFT, _CUTOUT_TOP, _CUTOUT_LEFT = range(6)


@dataclass(frozen=True)
class TrainTransform:
    """Training transform of the images of a batch: one image after another, then all at once.

    The randomness of `per_image` comes from torch's CPU generator, which `epoch_loader` seeds for each sample.

    Attributes:
        per_image: CHW image of any size to a CHW image of one size; None to leave images as they are.
        per_batch: What is done to the batch.
    """

    per_image: Transform | None
    per_batch: "BatchAugmentation"


@dataclass(frozen=True)
class BatchAugmentation:
    """Normalization, flip, shift and cutout, in this order; random numbers are functions of (seed, epoch, sample).

    Attributes:
        normalize: To float images; None if they are normalized.
        flip: `none`, `horizontal`, `vertical`, or `both`: each with probability 1/2. `alternating`: horizontal flips of
            every image in every second epoch, of a random half of the images in even and of the others in odd epochs.
        shift: Largest translation per axis in pixels, drawn uniformly.
        padding: What shifts fill in: `zeros`, which is the mean color, `black` or `reflect`.
        black: Normalized value of black pixels per channel, for the padding `black`.
        cutout: Side of the square set to zero, in pixels (DeVries and Taylor, 2017); its center is drawn uniformly, so
            that it may exceed the image. 0 for none.
    """

    normalize: Transform | None
    flip: str = "none"
    shift: int = 0
    padding: str = "zeros"
    black: tuple[float, ...] = ()
    cutout: int = 0

    def __call__(self, images: Tensor, samples: Indices, *, seed: int, epoch: int) -> Tensor:
        """Transform a batch.

        Args:
            images: (N, C, H, W).
            samples: Index of each image in the dataset, (N,).
            seed: Seed of the run.
            epoch: Epoch.

        Returns:
            Float32 images of the same shape.
        """

        def integers(purpose: int, below: int) -> Tensor:
            return torch.from_numpy(draw(samples, below, seed, epoch, purpose))

        height, width = images.shape[-2:]
        if self.normalize:
            images = self.normalize(images)
        if self.flip == "alternating":
            images = _flipped(images, torch.from_numpy((draw(samples, 2, seed, _FLIP) + epoch) % 2), dim=-1)
        if self.flip in ("horizontal", "both"):
            images = _flipped(images, integers(_FLIP, 2), dim=-1)
        if self.flip in ("vertical", "both"):
            images = _flipped(images, integers(_VERTICAL, 2), dim=-2)
        if self.shift:
            below = 2 * self.shift + 1
            images = _windows(self._padded(images), height, width, integers(_TOP, below), integers(_LEFT, below))
        if self.cutout:
            rows = _covered(integers(_CUTOUT_TOP, height), self.cutout, height)
            columns = _covered(integers(_CUTOUT_LEFT, width), self.cutout, width)
            images = images * ~(rows[:, None, :, None] & columns[:, None, None, :])
        return images

    def _padded(self, images: Tensor) -> Tensor:
        """Pad all sides by `shift` pixels."""
        pixels = [self.shift] * 4
        if self.padding == "reflect":
            return functional.pad(images, pixels, mode="reflect")
        padded = functional.pad(images, pixels)
        if self.padding == "black":
            outside = functional.pad(images.new_zeros(images.shape[-2:]), pixels, value=1).bool()
            padded = torch.where(outside, images.new_tensor(self.black)[:, None, None], padded)
        return padded


def _flipped(images: Tensor, where: Tensor, dim: int) -> Tensor:
    return torch.where(where.bool()[:, None, None, None], images.flip(dim), images)


def _windows(padded: Tensor, height: int, width: int, top: Tensor, left: Tensor) -> Tensor:
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(padded)), :, top, left]


def _covered(center: Tensor, side: int, length: int) -> Tensor:
    """Which of `length` pixels are within `side` pixels around the centers, (N, length)."""
    first = center[:, None] - side // 2
    pixels = torch.arange(length)
    return (pixels >= first) & (pixels < first + side)
