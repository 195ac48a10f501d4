"""The first 20 test images of each class of CIFAR-10 and MNIST, one row per class, in a PNG file each.

python -m tests.models.image_samples DIR   # with DIR/cifar-10-batches-py and DIR/MNIST
"""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10, MNIST

from skipweave.export.publication import first_of_each_class


class Sample(NamedTuple):
    """The test split that images are from, and the side of an image in pixels."""

    source: type[CIFAR10] | type[MNIST]
    side: int


SAMPLES = {"cifar10": Sample(CIFAR10, 32), "mnist": Sample(MNIST, 28)}


def file_of(dataset: str) -> Path:
    """Where the images are."""
    return Path(__file__).with_name(f"{dataset}_sample.png")


def sample(dataset: str) -> tuple[Tensor, Tensor]:
    """uint8 images (200, C, H, W) and their labels."""
    side = SAMPLES[dataset].side
    pixels = torch.from_numpy(np.atleast_3d(np.array(Image.open(file_of(dataset)))))
    images = pixels.unflatten(0, (-1, side)).unflatten(2, (-1, side)).permute(0, 2, 4, 1, 3)
    return images.flatten(0, 1), torch.arange(len(images)).repeat_interleave(images.shape[1])


def first_images(dataset: str, root: Path) -> Tensor:
    """The images of the file from the dataset, uint8 (200, C, H, W)."""
    source = SAMPLES[dataset].source(root, train=False)
    chosen = first_of_each_class(torch.as_tensor(source.targets))
    images = torch.as_tensor(source.data)[chosen]
    return (images[..., None] if images.ndim == 3 else images).permute(0, 3, 1, 2)


def write(dataset: str, root: Path) -> None:
    """Write the file."""
    images = first_images(dataset, root)
    rows = images.unflatten(0, (10, -1)).permute(0, 3, 1, 4, 2)
    Image.fromarray(rows.flatten(0, 1).flatten(1, 2).squeeze(-1).numpy()).save(file_of(dataset), optimize=True)


if __name__ == "__main__":
    for each in SAMPLES:
        write(each, Path(sys.argv[1]))
