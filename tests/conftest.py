"""Settings that every test shares, and small sets of images with label maps."""

import os

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

# The networks of the tests are tiny: threads would only wait for each other, all the more with several test workers.
torch.set_num_threads(1)

# Without a GPU, Triton's kernels are interpreted. Triton looks at this once, when it is first imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# The same examples in every run, and no limit on how long one may take: a busy machine fails no test.
settings.register_profile("skipweave", derandomize=True, deadline=None)
settings.load_profile("skipweave")


@pytest.fixture
def make_pairs():
    """Write random pictures with random label images of the values 0, 1 and 2 into two folders."""

    def make(root, names, size=(12, 10)):
        rng = np.random.default_rng(0)
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / "images" / f"{name}.png")
            Image.fromarray(rng.integers(0, 3, size, dtype=np.uint8)).save(root / "masks" / f"{name}.png")

    return make


@pytest.fixture
def class_list():
    """Write the class list that `make_pairs` needs: two classes and void."""

    def write(root, text="name\nground\nroad\nvoid\n"):
        root.mkdir(parents=True, exist_ok=True)
        (root / "classes.csv").write_text(text)
        return root / "classes.csv"

    return write
