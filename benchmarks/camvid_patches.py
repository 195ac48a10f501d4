"""Cut a small dataset of crops from CamVid's street scenes, in folders by split and class, to fine-tune on.

    python -m benchmarks.camvid_patches DATA/CamVid crops

A crop has the class that covers at least 60 % of it. Each split has its own scenes, and as many crops of each of the
seven classes, evenly spaced over the scenes.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = {0: "sky", 1: "building", 3: "road", 4: "sidewalk", 5: "tree", 7: "fence", 8: "car"}
PER_CLASS = {"train": 60, "val": 20, "test": 100}
SIDE, STEP, SHARE = 48, 24, 0.6

Crop = tuple[Path, int, int]


def crops(folder: Path, split: str) -> dict[str, list[Crop]]:
    """Scene and corner of all crops of a split, by class."""
    found: dict[str, list[Crop]] = defaultdict(list)
    for image in sorted((folder / split).glob("*.png")):
        labels = np.asarray(Image.open(folder / f"{split}annot" / image.name))
        for top in range(0, labels.shape[0] - SIDE + 1, STEP):
            for left in range(0, labels.shape[1] - SIDE + 1, STEP):
                counts = np.bincount(labels[top : top + SIDE, left : left + SIDE].ravel())
                if counts.max() >= SHARE * SIDE**2 and counts.argmax() in CLASSES:
                    found[CLASSES[int(counts.argmax())]].append((image, top, left))
    return found


def main() -> None:
    """Write the crops of all splits."""
    parser = argparse.ArgumentParser("python -m benchmarks.camvid_patches", description=__doc__.splitlines()[0])
    parser.add_argument("camvid", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    for split, number in PER_CLASS.items():
        for name, found in crops(options.camvid, split).items():
            if len(found) < number:
                raise SystemExit(
                    f"{options.camvid} has {len(found)} crops of {name} in {split}: expected {number} or more"
                )
            place = options.output / split / name
            place.mkdir(parents=True)
            for image, top, left in (found[i] for i in np.linspace(0, len(found) - 1, number).astype(int)):
                crop = Image.open(image).crop((left, top, left + SIDE, top + SIDE))
                crop.convert("RGB").save(place / f"{image.stem}_{top}_{left}.png")


if __name__ == "__main__":
    main()
