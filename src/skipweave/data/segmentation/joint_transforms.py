"""Joint transforms of an image and its mask."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode, functional

from skipweave.data.augmentation import color_jitter
from skipweave.data.batch_augmentation import Transform
from skipweave.data.preprocessing import Preprocessing


@dataclass(frozen=True)
class JointTrainTransform:
    """Training transform: resize, random scale and crop, random flip, color jitter, normalize.

    Images are resized with anti-aliased bilinear interpolation, masks with nearest-neighbor interpolation.

    Attributes:
        preprocessing: Size and normalization.
        void: Label of pixels to ignore, with which masks are padded; images are padded with their mean.
        crop: Side of the random crop; None for the whole image.
        flip: `none`, `horizontal`, `vertical` or `both`, each with probability 1/2.
        scale: Smallest and largest factor by which both are resized before the crop, uniform between the two; None for
            no resizing. Only with a crop.
        color: Jitter of the image's brightness, contrast and saturation, as a fraction; 0 for none.
    """

    preprocessing: Preprocessing
    void: int
    crop: int | None
    flip: str
    scale: tuple[float, float] | None = None
    color: float = 0.0

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Transform one pair.

        Args:
            image: Image, (C, H, W), uint8 or (for more than 8 bits, and without color jitter) float32.
            mask: Mask, uint8, (H, W).

        Returns:
            The normalized float32 image (C, h, w) and the int64 mask (h, w).
        """
        image = self.preprocessing.fit(image)
        mask = _resize_mask(mask, image.shape[-2:])
        if self.crop:
            image, mask = self._random_crop(image, mask, self.crop)
        for dim, flips in ((-1, ("horizontal", "both")), (-2, ("vertical", "both"))):
            if self.flip in flips and torch.rand(()) < 0.5:
                image, mask = image.flip(dim), mask.flip(dim)
        if self.color:
            image = self._jitter(image)
        image, mask = self.preprocessing.normalize(image), mask.long()
        if self.crop:
            missing = [0, self.crop - mask.shape[1], 0, self.crop - mask.shape[0]]
            image, mask = F.pad(image, missing), F.pad(mask, missing, value=self.void)
        return image, mask

    @cached_property
    def _jitter(self) -> Transform:
        return color_jitter(self.color)

    def _random_crop(self, image: Tensor, mask: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Crop both as if they had been resized by a random factor before; only the window is resized."""
        factor = torch.empty(()).uniform_(*self.scale).item() if self.scale else 1.0
        image, mask = _random_window(image, mask, math.ceil(side / factor))
        size = [min(max(round(length * factor), 1), side) for length in mask.shape]
        return _resize_image(image, size), _resize_mask(mask, size)


@dataclass(frozen=True)
class JointEvalTransform:
    """Evaluation transform: preprocess the image, keep the mask at full resolution.

    Attributes:
        preprocessing: Size and normalization.
    """

    preprocessing: Preprocessing

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Transform one pair: uint8 CHW and HW to (normalized float32 CHW, int64 HW of the given size)."""
        return self.preprocessing(image), mask.long()


def _resize_image(image: Tensor, size: Sequence[int]) -> Tensor:
    """Resize an image by anti-aliased bilinear interpolation."""
    return image if list(image.shape[-2:]) == list(size) else functional.resize(image, list(size), antialias=True)


def _resize_mask(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a mask by nearest-neighbor interpolation."""
    if list(mask.shape) == list(size):
        return mask
    return functional.resize(mask[None], list(size), interpolation=InterpolationMode.NEAREST_EXACT)[0]


def _random_window(image: Tensor, mask: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Crop both at the same random position; an axis shorter than the side is kept."""
    height, width = mask.shape
    top = int(torch.randint(max(height - side, 0) + 1, ()))
    left = int(torch.randint(max(width - side, 0) + 1, ()))
    window = (..., slice(top, top + side), slice(left, left + side))
    return image[window], mask[window]
