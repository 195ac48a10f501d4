"""How often classes occur in label maps, and the weights that balance them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from skipweave.data.segmentation.image_mask_pairs import SegmentationImages

Share = Literal["all", "present"]


@dataclass(frozen=True)
class ClassPixels:
    """Pixels of each class, counted over a set of label maps.

    Attributes:
        classes: their names.
        pixels: of each class.
        beside: of each class: labeled pixels of the images that it occurs in.
        total: pixels of all images, void ones included.
    """

    classes: tuple[str, ...]
    pixels: tuple[int, ...]
    beside: tuple[int, ...]
    total: int

    def frequencies(self, share: Share = "all") -> tuple[float, ...]:
        """The share of pixels that each class has.

        Args:
            share: `all` of the pixels, void ones included (Log-DenseNet), or of the labeled pixels of those images in
                which the class is `present` (Eigen and Fergus, 2015).
        """
        whole = [self.total] * len(self.pixels) if share == "all" else self.beside
        return tuple(count / of if of else 0.0 for count, of in zip(self.pixels, whole, strict=True))

    def weights(self, share: Share = "all") -> tuple[float, ...]:
        """Median-frequency weights: w_c = median(f) / f_c over the classes that occur; 0 for one that never does.

        Args:
            share: which frequencies, as in `frequencies`.
        """
        frequencies = self.frequencies(share)
        occurring = [frequency for frequency in frequencies if frequency]
        if not occurring:
            return frequencies
        middle = float(np.median(occurring))
        return tuple(middle / frequency if frequency else 0.0 for frequency in frequencies)


def count_pixels(images: SegmentationImages, progress: Callable[[int, int], None] | None = None) -> ClassPixels:
    """Count the pixels of each class over the label maps of a set, as they are, neither cropped nor resized.

    Args:
        images: the set; its label maps are read once, its images not at all.
        progress: told (maps done, maps in all) after each.

    Raises:
        SkipweaveError: a label image cannot be read, or holds what is no class.
    """
    classes = len(images.classes.names)
    pixels, beside = np.zeros((2, classes), dtype=np.int64)
    total = 0
    for index in range(len(images)):
        labels = images.label_map(index)
        found = torch.bincount(labels.flatten(), minlength=classes + 1)[:classes].numpy()
        pixels += found
        beside[found > 0] += found.sum()
        total += labels.numel()
        if progress:
            progress(index + 1, len(images))
    return ClassPixels(images.classes.names, tuple(pixels.tolist()), tuple(beside.tolist()), total)
