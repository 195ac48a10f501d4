"""The first 20 test images of each class of CIFAR-10, one row per class, in a PNG file.

python tests/models/cifar10_sample.py DIR   # with DIR/cifar-10-batches-py
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10

from skipweave.export.publication import first_of_each_class

FILE = Path(__file__).with_suffix(".png")
SIDE = 32


def sample() -> tuple[Tensor, Tensor]:
    """uint8 images (200, 3, 32, 32) and their labels."""
    pixels = torch.from_numpy(np.array(Image.open(FILE)))
    images = pixels.unflatten(0, (-1, SIDE)).unflatten(2, (-1, SIDE)).permute(0, 2, 4, 1, 3)
    return images.flatten(0, 1), torch.arange(len(images)).repeat_interleave(images.shape[1])


def write(root: Path) -> None:
    """Write the file."""
    source = CIFAR10(root, train=False)
    images = source.data[first_of_each_class(torch.tensor(source.targets))].reshape(10, -1, SIDE, SIDE, 3)
    grid = images.transpose(0, 2, 1, 3, 4).reshape(10 * SIDE, -1, 3)
    Image.fromarray(grid).save(FILE, optimize=True)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
