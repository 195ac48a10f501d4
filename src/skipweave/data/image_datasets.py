"""Map-style classification datasets of untransformed images, in memory or in files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from skipweave.data.images.decoding import open_image
from skipweave.data.splits import Indices


class ImageDataset(Protocol):
    """Map-style dataset of (image, label): CHW tensors (uint8, or float32 for more than 8 bits) and class indices."""

    labels: Indices

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, int]: ...

    def file(self, index: int) -> str:
        """Path of an image; empty if it is in memory."""
        ...

    def subset(self, indices: Indices) -> "ImageDataset":
        """Subset of the images at these indices."""
        ...


class MemoryDataset:
    """Images of one size, held in memory.

    Args:
        images: Images, uint8, (N, C, H, W).
        labels: Class indices, (N,).
    """

    def __init__(self, images: Tensor, labels: Sequence[int] | Indices) -> None:
        self.images = images
        self.labels: Indices = np.asarray(labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])

    def file(self, index: int) -> str:
        """Empty: the images are in memory."""
        return ""

    def subset(self, indices: Indices) -> "MemoryDataset":
        """Subset of the images at these indices."""
        return MemoryDataset(self.images[torch.from_numpy(indices)], self.labels[indices])


class FileDataset:
    """Images of any size, decoded from files on access.

    Args:
        paths: One file per image.
        labels: Class indices.
        in_chans: 1 for gray images, 3 for color.
        high_bit_depth: Whether the images have more than 8 bits per channel.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        labels: Sequence[int] | Indices,
        in_chans: int,
        *,
        high_bit_depth: bool = False,
    ) -> None:
        self.paths = [str(path) for path in paths]
        self.labels: Indices = np.asarray(labels, dtype=np.int64)
        self.in_chans = in_chans
        self.high_bit_depth = high_bit_depth

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.image(index), int(self.labels[index])

    def image(self, index: int) -> Tensor:
        """Load one image without its label."""
        return open_image(self.paths[index], self.in_chans, high_bit_depth=self.high_bit_depth)

    def file(self, index: int) -> str:
        """Path of an image."""
        return self.paths[index]

    def subset(self, indices: Indices) -> "FileDataset":
        """Subset of the images at these indices."""
        paths = [self.paths[index] for index in indices]
        return FileDataset(paths, self.labels[indices], self.in_chans, high_bit_depth=self.high_bit_depth)


@dataclass(frozen=True)
class DatasetSplits:
    """Class names and splits of a dataset; None for a missing split."""

    classes: tuple[str, ...]
    train: ImageDataset
    val: ImageDataset | None = None
    test: ImageDataset | None = None
