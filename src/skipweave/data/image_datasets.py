"""Map-style classification datasets of untransformed images, in memory or in files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from skipweave.data.images.decoding import open_image
from skipweave.data.images.high_bit_depth import PixelType
from skipweave.data.splits import Groups, Indices, Labels

Label = int | Labels
"""Class index, or 0 and 1 (classes,)."""


class ImageDataset(Protocol):
    """Map-style dataset of (image, label): CHW tensors (uint8, or float32 for more than 8 bits) and labels.

    Attributes:
        labels: Class indices (N,); for several labels per image 0 and 1, (N, classes).
        groups: Group of each image, (N,), if images of one group belong in one split; else None.
    """

    labels: Labels
    groups: Groups | None

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, Label]: ...

    def file(self, index: int) -> str:
        """Path of an image; empty if it is in memory."""
        ...

    def image_name(self, index: int) -> str:
        """Path of an image; if it is in memory, its index in the dataset that the split was taken from."""
        ...

    def subset(self, indices: Indices) -> "ImageDataset":
        """Subset of the images at these indices."""
        ...


class MemoryDataset:
    """Images of one size, held in memory.

    Args:
        images: Images, uint8, (N, C, H, W).
        labels: Class indices, (N,).
        indices: Indices of the images in the dataset that they were taken from; 0 to N - 1 by default.
    """

    groups: Groups | None = None

    def __init__(self, images: Tensor, labels: Sequence[int] | Labels, indices: Indices | None = None) -> None:
        self.images = images
        self.labels: Labels = np.asarray(labels, dtype=np.int64)
        self.indices: Indices = np.arange(len(self.labels)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])

    def file(self, index: int) -> str:
        """Empty: the images are in memory."""
        return ""

    def image_name(self, index: int) -> str:
        """Index of an image in the dataset that it was taken from."""
        return str(self.indices[index])

    def subset(self, indices: Indices) -> "MemoryDataset":
        """Subset of the images at these indices."""
        return MemoryDataset(self.images[torch.from_numpy(indices)], self.labels[indices], self.indices[indices])


class FileDataset:
    """Images of any size, decoded from files on access.

    Args:
        paths: One file per image.
        labels: Class indices (N,); for several labels per image 0 and 1, (N, classes).
        in_chans: Channels of the images: 1 for gray, 3 for color, or those of TIFF files.
        high_bit_depth: Whether the images have more than 8 bits per channel.
        groups: Group of each image, (N,), if images of one group belong in one split.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        labels: Sequence[int] | Labels,
        in_chans: int,
        *,
        high_bit_depth: bool = False,
        groups: Groups | None = None,
    ) -> None:
        self.paths = [str(path) for path in paths]
        self.labels: Labels = np.asarray(labels)
        self.groups = groups
        self.in_chans = in_chans
        self.high_bit_depth = high_bit_depth

    def set_kind(self, pixel_type: PixelType, channels: int | None = None) -> None:
        """Set channels and bit depth to those of images of a pixel type.

        Args:
            pixel_type: Pixel type of the images.
            channels: Channels to convert gray and color images to; by default 3, and all channels of other images.
        """
        self.in_chans = channels or pixel_type.bands or 3
        self.high_bit_depth = pixel_type.high_bit_depth

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Label]:
        label = self.labels[index]
        return self.image(index), label if label.ndim else int(label)

    def image(self, index: int) -> Tensor:
        """Load one image without its label."""
        return open_image(self.paths[index], self.in_chans, high_bit_depth=self.high_bit_depth)

    def file(self, index: int) -> str:
        """Path of an image."""
        return self.paths[index]

    def image_name(self, index: int) -> str:
        """Path of an image."""
        return self.paths[index]

    def subset(self, indices: Indices) -> "FileDataset":
        """Subset of the images at these indices."""
        return FileDataset(
            [self.paths[index] for index in indices],
            self.labels[indices],
            self.in_chans,
            high_bit_depth=self.high_bit_depth,
            groups=None if self.groups is None else self.groups[indices],
        )


@dataclass(frozen=True)
class DatasetSplits:
    """Class names and splits of a dataset.

    Attributes:
        classes: Class names, by label.
        train: Training split; all images of a dataset that is not divided.
        val: Validation split; None if it is missing.
        test: Test split; None if it is missing.
        divided: Whether the dataset defines its splits.
        notes: Notes about how the dataset was read, one line each.
    """

    classes: tuple[str, ...]
    train: ImageDataset
    val: ImageDataset | None = None
    test: ImageDataset | None = None
    divided: bool = True
    notes: tuple[str, ...] = ()
