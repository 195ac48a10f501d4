import numpy as np
import pytest
from PIL import Image


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


@pytest.fixture(scope="session")
def camvid_root(real_data):
    """The folder that holds CamVid/ in SegNet's layout."""
    if not (real_data / "CamVid").is_dir():
        pytest.skip(f"needs real data: {real_data} holds no CamVid/")
    return real_data
