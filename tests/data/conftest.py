import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def real_data():
    """Folder of the real MNIST and CIFAR-10, in the layouts of torchvision."""
    if "SKIPWEAVE_DATA" not in os.environ:
        pytest.skip("needs real data: set SKIPWEAVE_DATA to a folder with MNIST/ and cifar-10-batches-py/")
    return Path(os.environ["SKIPWEAVE_DATA"])


@pytest.fixture
def make_images():
    """Write small random images of different sizes into one folder per class."""

    def make(root, counts):
        rng = np.random.default_rng(0)
        for name, count in counts.items():
            (root / name).mkdir(parents=True)
            for number in range(count):
                size = (*rng.integers(10, 30, 2), 3)
                Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(root / name / f"{number}.png")

    return make
