import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data():
    """Folder of the real MNIST and CIFAR-10, in the layouts of torchvision."""
    if "SKIPWEAVE_DATA" not in os.environ:
        pytest.skip("needs real data: set SKIPWEAVE_DATA to a folder with MNIST/ and cifar-10-batches-py/")
    return Path(os.environ["SKIPWEAVE_DATA"])
