"""Data sets of images as they were read, not yet transformed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from skipweave.data.images.decoding import open_alike
from skipweave.data.splits import Indices


class ImageSet(Protocol):
    """A map-style data set of (image, label): CHW tensors (uint8; of more than 8 bits float32) and class indices."""

    labels: Indices

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, int]: ...

    def file(self, index: int) -> str:
        """Where an image is read from; nothing if it is held in memory."""
        ...

    def subset(self, indices: Indices) -> "ImageSet":
        """The images at these positions, as a set of its own."""
        ...


class MemoryImages:
    """Images of one size, held in memory.

    Args:
        images: uint8, NCHW.
        labels: N class indices.
    """

    def __init__(self, images: Tensor, labels: Sequence[int] | Indices) -> None:
        self.images = images
        self.labels: Indices = np.asarray(labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])

    def file(self, index: int) -> str:
        """Nothing: there is no file."""
        return ""

    def subset(self, indices: Indices) -> "MemoryImages":
        """The images at these positions, as a set of its own."""
        return MemoryImages(self.images[torch.from_numpy(indices)], self.labels[indices])


class FileImages:
    """Images read from files of any size when they are asked for.

    Args:
        paths: one file an image.
        labels: their class indices.
        in_chans: 1 to read gray images, 3 for color.
        deep: whether they have more than 8 bits a channel.
    """

    def __init__(
        self, paths: Sequence[str | Path], labels: Sequence[int] | Indices, in_chans: int, *, deep: bool = False
    ) -> None:
        self.paths = [str(path) for path in paths]
        self.labels: Indices = np.asarray(labels, dtype=np.int64)
        self.in_chans = in_chans
        self.deep = deep

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.image(index), int(self.labels[index])

    def image(self, index: int) -> Tensor:
        """Read one image alone."""
        return open_alike(self.paths[index], self.in_chans, deep=self.deep)

    def file(self, index: int) -> str:
        """The path of an image."""
        return self.paths[index]

    def subset(self, indices: Indices) -> "FileImages":
        """The images at these positions, as a set of its own."""
        paths = [self.paths[index] for index in indices]
        return FileImages(paths, self.labels[indices], self.in_chans, deep=self.deep)


@dataclass(frozen=True)
class ImageSplits:
    """A data set as it was read: its classes' names and its splits, None where it has no such split."""

    classes: tuple[str, ...]
    train: ImageSet
    val: ImageSet | None = None
    test: ImageSet | None = None
