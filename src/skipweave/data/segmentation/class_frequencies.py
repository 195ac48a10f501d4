"""Class frequencies of segmentation masks, and loss weights that balance them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from skipweave.data.segmentation.image_mask_pairs import SegmentationDataset

Denominator = Literal["all", "present"]


@dataclass(frozen=True)
class PixelCounts:
    """Pixel counts of each class over a set of masks.

    Attributes:
        classes: Class names.
        pixels: Pixels of each class.
        present: For each class, the pixels that are not void of the images in which it occurs.
        total: Pixels of all images, void included.
    """

    classes: tuple[str, ...]
    pixels: tuple[int, ...]
    present: tuple[int, ...]
    total: int

    def frequencies(self, of: Denominator = "all") -> tuple[float, ...]:
        """Pixel frequency of each class.

        Args:
            of: Denominator: `all` pixels, void included (Log-DenseNet), or the pixels that are not void of the images
                in which the class is `present` (Eigen and Fergus, 2015).
        """
        totals = [self.total] * len(self.pixels) if of == "all" else self.present
        return tuple(count / total if total else 0.0 for count, total in zip(self.pixels, totals, strict=True))

    def weights(self, of: Denominator = "all") -> tuple[float, ...]:
        """Median-frequency weights: w_c = median(f) / f_c over the classes that occur, 0 for the others.

        Args:
            of: Denominator of the frequencies, as for `frequencies`.
        """
        frequencies = self.frequencies(of)
        occurring = [frequency for frequency in frequencies if frequency]
        if not occurring:
            return frequencies
        middle = float(np.median(occurring))
        return tuple(middle / frequency if frequency else 0.0 for frequency in frequencies)


def count_pixels(images: SegmentationDataset, progress: Callable[[int, int], None] | None = None) -> PixelCounts:
    """Count the pixels of each class over the masks of a dataset, neither cropped nor resized.

    Args:
        images: Dataset; its masks are loaded once, its images are not.
        progress: Called with (masks counted, total masks) after each mask.

    Raises:
        SkipweaveError: A mask cannot be read, or has a value that is no class.
    """
    classes = len(images.classes.names)
    pixels, present = np.zeros((2, classes), dtype=np.int64)
    total = 0
    for index in range(len(images)):
        mask = images.mask(index)
        found = torch.bincount(mask.flatten(), minlength=classes + 1)[:classes].numpy()
        pixels += found
        present[found > 0] += found.sum()
        total += mask.numel()
        if progress:
            progress(index + 1, len(images))
    return PixelCounts(images.classes.names, tuple(pixels.tolist()), tuple(present.tolist()), total)
