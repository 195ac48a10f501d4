"""A folder of photographs for classification: crops of CamVid's street scenes, by the class that fills most of them.

`python -m benchmarks.camvid_crops --root DATA --output FOLDER` writes FOLDER/train/CLASS/*.png, FOLDER/val and
FOLDER/test from CamVid's own splits, whose frames are of the same few drives: errors are optimistic.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from skipweave.data import mix_seed

CLASSES = {1: "building", 3: "road", 4: "sidewalk", 5: "tree", 7: "fence", 8: "car"}
SIDE = 96
COVERED = 0.45  # smallest part of a crop's pixels that have its class
PER_IMAGE = 60  # crops tried per image


def crops(labels: np.ndarray, seed: int) -> Iterator[tuple[int, int, int]]:
    """Class, top and left of the crops of an image, (H, W) of labels, at most one per class."""
    rng = np.random.default_rng(seed)
    found: set[int] = set()
    for _ in range(PER_IMAGE):
        top, left = (int(rng.integers(size - SIDE + 1)) for size in labels.shape)
        counts = np.bincount(labels[top : top + SIDE, left : left + SIDE].ravel(), minlength=12)
        label = int(counts.argmax())
        if label in CLASSES and label not in found and counts[label] >= COVERED * SIDE**2:
            found.add(label)
            yield label, top, left


def write(root: Path, output: Path) -> dict[str, int]:
    """Write the folder; return the number of images of each split and class."""
    written: dict[str, int] = {}
    for split in ("train", "val", "test"):
        for number, path in enumerate(sorted((root / "CamVid" / split).glob("*.png"))):
            labels = np.asarray(Image.open(root / "CamVid" / f"{split}annot" / path.name))
            with Image.open(path) as image:
                for label, top, left in crops(labels, mix_seed(number)):
                    place = output / split / CLASSES[label]
                    place.mkdir(parents=True, exist_ok=True)
                    image.convert("RGB").crop((left, top, left + SIDE, top + SIDE)).save(place / path.name)
                    key = f"{split}/{CLASSES[label]}"
                    written[key] = written.get(key, 0) + 1
    return written


def main() -> None:
    """Write the folder and print what is in it."""
    parser = argparse.ArgumentParser("python -m benchmarks.camvid_crops", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder that holds CamVid/")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    for name, count in write(given.root, given.output).items():
        print(f"{name}: {count}")


if __name__ == "__main__":
    main()
