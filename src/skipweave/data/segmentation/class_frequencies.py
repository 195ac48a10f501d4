"""Class frequencies of segmentation masks, and loss weights that balance them."""

from dataclasses import dataclass

import numpy as np
import torch

from skipweave.data.segmentation.image_mask_pairs import SegmentationDataset


@dataclass(frozen=True)
class PixelCounts:
    """Pixel counts of each class over a set of masks.

    Attributes:
        classes: Class names.
        pixels: Pixels of each class.
        total: Pixels of all images, void included.
    """

    classes: tuple[str, ...]
    pixels: tuple[int, ...]
    total: int

    def frequencies(self) -> tuple[float, ...]:
        """Pixels of each class as a fraction of all pixels, void included (Log-DenseNet)."""
        return tuple(count / self.total for count in self.pixels)

    def weights(self) -> tuple[float, ...]:
        """Median-frequency weights: w_c = median(f) / f_c over the classes that occur, 0 for the others."""
        frequencies = self.frequencies()
        middle = float(np.median([frequency for frequency in frequencies if frequency] or [0.0]))
        return tuple(middle / frequency if frequency else 0.0 for frequency in frequencies)


def count_pixels(images: SegmentationDataset) -> PixelCounts:
    """Count the pixels of each class over the masks of a dataset, neither cropped nor resized.

    Raises:
        SkipweaveError: A mask cannot be read, or has a value that is no class.
    """
    classes = len(images.classes.names)
    pixels = torch.zeros(classes + 1, dtype=torch.long)  # the last for void
    for index in range(len(images)):
        pixels += torch.bincount(images.mask(index).flatten(), minlength=classes + 1)
    return PixelCounts(images.classes.names, tuple(pixels[:classes].tolist()), int(pixels.sum()))
