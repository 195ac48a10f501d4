"""Read a folder of images a class."""

import os
from pathlib import Path

from torchvision import datasets

from skipweave.data.config import DataConfig
from skipweave.data.files import EXTENSIONS, is_image
from skipweave.data.images import FileImages, ImageSplits
from skipweave.data.splits import TEST_FRACTION, stratified_split
from skipweave.errors import SkipweaveError

_LAYOUTS = "ROOT/train/CLASS/* with ROOT/val/CLASS/* and ROOT/test/CLASS/* if you have them, or ROOT/CLASS/* alone"


def read_folder(config: DataConfig) -> ImageSplits:
    """Read ROOT/train, ROOT/val and ROOT/test where present; or ROOT/CLASS/* alone, then a fifth is held out to test.

    Raises:
        SkipweaveError: no such folder, no class in it, a class without images, or classes that differ between splits.
    """
    root = Path(config.root or "").expanduser()
    if not root.is_dir():
        raise SkipweaveError(f"no such folder: {root}: expected {_LAYOUTS}")
    parts = {name: _read_classes(root / name) for name in ("train", "val", "test") if (root / name).is_dir()}
    if not parts:
        classes, images = _read_classes(root)
        train, test = stratified_split(images.labels, TEST_FRACTION, config.split_seed, "testing")
        return ImageSplits(classes, images.subset(train), test=images.subset(test))
    if "train" not in parts:
        raise SkipweaveError(f"{root} has {' and '.join(parts)} but no train: expected {_LAYOUTS}")
    classes = parts["train"][0]
    for name, (others, _) in parts.items():
        if others != classes:
            raise SkipweaveError(
                f"{root / name} has {len(others)} classes, {root / 'train'} has {len(classes)}: "
                f"expected the same ones; not in both: {', '.join(sorted(set(classes) ^ set(others)))}"
            )
    return ImageSplits(classes, **{name: images for name, (_, images) in parts.items()})


def _read_classes(folder: Path) -> tuple[tuple[str, ...], FileImages]:
    """List a folder of images a class."""
    try:
        source = _ClassFolders(folder, is_valid_file=is_image, allow_empty=True)
    except FileNotFoundError:
        raise SkipweaveError(f"no class folder in {folder}: expected {_LAYOUTS}") from None
    filled = set(source.targets)
    if empty := [name for name, label in source.class_to_idx.items() if label not in filled]:
        raise SkipweaveError(
            f"no image in the class folder(s) {', '.join(empty)} of {folder}: "
            f"expected files that end in {', '.join(EXTENSIONS)}"
        )
    return tuple(source.classes), FileImages([path for path, _ in source.samples], source.targets, in_chans=3)


class _ClassFolders(datasets.ImageFolder):
    """torchvision's reader, which takes hidden folders for classes, without them."""

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        names = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir() and entry.name[0] != ".")
        if not names:
            raise FileNotFoundError(directory)
        return names, {name: label for label, name in enumerate(names)}
