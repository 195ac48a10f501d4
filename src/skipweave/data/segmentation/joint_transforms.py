"""What an image and its label map go through together."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode, functional

from skipweave.data.segmentation.whole_image import WholeImage


@dataclass(frozen=True)
class TrainPair:
    """Resize, crop at random, mirror at random and normalize, the labels as the image.

    Labels are never mixed: they are taken from the nearest pixel.

    Attributes:
        preprocessing: what is not random: size and normalization.
        void: label of pixels to ignore; it fills what a crop has beyond the image, where the image has its mean.
        crop: side of the square to cut out, any place equally likely; None for the whole image.
        flip: whether half of the images are mirrored.
    """

    preprocessing: WholeImage
    void: int
    crop: int | None
    flip: bool

    def __call__(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Transform one pair.

        Args:
            image: uint8 CHW.
            labels: uint8 HW.

        Returns:
            (normalized float32 CHW, int64 HW).
        """
        image = self.preprocessing.fit(image)
        labels = _resize_labels(labels, image.shape[-2:])
        if self.crop:
            image, labels = _random_window(image, labels, self.crop)
        if self.flip and torch.rand(()) < 0.5:
            image, labels = image.flip(-1), labels.flip(-1)
        image, labels = self.preprocessing.normalize(image), labels.long()
        if self.crop:
            missing = [0, self.crop - labels.shape[1], 0, self.crop - labels.shape[0]]
            image, labels = F.pad(image, missing), F.pad(labels, missing, value=self.void)
        return image, labels


@dataclass(frozen=True)
class EvalPair:
    """Preprocess the image; leave the labels as they are, so that scores are at their full resolution.

    Attributes:
        preprocessing: size and normalization.
    """

    preprocessing: WholeImage

    def __call__(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Transform one pair: uint8 CHW and HW to (normalized float32 CHW, int64 HW of the size given)."""
        return self.preprocessing(image), labels.long()


def _resize_labels(labels: Tensor, size: torch.Size) -> Tensor:
    """Bring a label map to a size, each pixel taking the label that its center lies on."""
    if labels.shape == size:
        return labels
    return functional.resize(labels[None], list(size), interpolation=InterpolationMode.NEAREST_EXACT)[0]


def _random_window(image: Tensor, labels: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Cut the same window out of both; one that is smaller along an axis keeps that axis whole."""
    height, width = labels.shape
    top = int(torch.randint(max(height - side, 0) + 1, ()))
    left = int(torch.randint(max(width - side, 0) + 1, ()))
    window = (..., slice(top, top + side), slice(left, left + side))
    return image[window], labels[window]
