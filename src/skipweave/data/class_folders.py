"""Datasets stored as one folder of images per class."""

from pathlib import Path

from skipweave.data.image_datasets import DatasetSplits, FileDataset
from skipweave.data.images.decoding import first_pixel_type
from skipweave.data.images.image_files import EXTENSIONS, is_image, walk_files
from skipweave_config.data_config import DataConfig
from skipweave_config.errors import SkipweaveError

_LAYOUTS = "ROOT/train/CLASS/* with ROOT/val/CLASS/* and ROOT/test/CLASS/* if you have them, or ROOT/CLASS/* alone"


def read_folder(config: DataConfig) -> DatasetSplits:
    """List ROOT/train, ROOT/val and ROOT/test where present; or ROOT/CLASS/* alone, which is not divided.

    Raises:
        SkipweaveError: The folder is missing or has no classes, a class has no images, or classes differ between
            splits.
    """
    parts = {name: _list_classes(place) for name, place in find_parts(config).items()}
    pixel_type = first_pixel_type(parts["train" if "train" in parts else ""][1].paths)
    for _, images in parts.values():
        images.set_kind(pixel_type, config.channels)
    if "" in parts:
        return DatasetSplits(*parts[""], divided=False)
    classes, root = parts["train"][0], Path(config.root or "").expanduser()
    for name, (others, _) in parts.items():
        if others != classes:
            raise SkipweaveError(
                f"{root / name} has {len(others)} classes, {root / 'train'} has {len(classes)}: "
                f"expected the same classes; not in both: {', '.join(sorted(set(classes) ^ set(others)))}"
            )
    train, val, test = (parts[name][1] if name in parts else None for name in ("train", "val", "test"))
    assert train is not None
    return DatasetSplits(classes, train, val, test)


def find_parts(config: DataConfig) -> dict[str, Path]:
    """Find the folders that hold the class folders, by split; by "" if the dataset has no splits of its own.

    Raises:
        SkipweaveError: The folder is missing, or has splits but no train split.
    """
    root = Path(config.root or "").expanduser()
    if not root.is_dir():
        raise SkipweaveError(f"no such folder: {root}: expected {_LAYOUTS}")
    parts = {name: root / name for name in ("train", "val", "test") if (root / name).is_dir()}
    if parts and "train" not in parts:
        raise SkipweaveError(f"{root} has {' and '.join(parts)} but no train: expected {_LAYOUTS}")
    return parts or {"": root}


def class_names(folder: Path) -> list[str]:
    """List the class folders in a folder, hidden ones left out.

    Raises:
        SkipweaveError: The folder cannot be read.
    """
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
    except OSError as error:
        raise SkipweaveError(f"cannot read the folder {folder} ({error.strerror})") from error


def _list_classes(folder: Path) -> tuple[tuple[str, ...], FileDataset]:
    """List the classes of a folder and their images."""
    classes = {name: list(filter(is_image, walk_files(folder / name))) for name in class_names(folder)}
    if not classes:
        raise SkipweaveError(f"no class folder in {folder}: expected {_LAYOUTS}")
    if empty := [name for name, paths in classes.items() if not paths]:
        raise SkipweaveError(
            f"no image in the class folder(s) {', '.join(empty)} of {folder}: "
            f"expected files that end in {', '.join(EXTENSIONS)}"
        )
    labels = [label for label, paths in enumerate(classes.values()) for _ in paths]
    return tuple(classes), FileDataset([path for paths in classes.values() for path in paths], labels, in_chans=3)
