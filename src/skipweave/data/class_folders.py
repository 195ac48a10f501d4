"""Read a folder of images a class."""

from pathlib import Path

from skipweave.data.image_sets import FileImages, ImageSplits
from skipweave.data.images.decoding import are_deep
from skipweave.data.images.image_files import EXTENSIONS, is_image, walk_files
from skipweave.data.splits import TEST_FRACTION, stratified_split
from skipweave.errors import SkipweaveError
from skipweave_config.data_config import DataConfig

_LAYOUTS = "ROOT/train/CLASS/* with ROOT/val/CLASS/* and ROOT/test/CLASS/* if you have them, or ROOT/CLASS/* alone"


def read_folder(config: DataConfig) -> ImageSplits:
    """Read ROOT/train, ROOT/val and ROOT/test where present; or ROOT/CLASS/* alone, then a fifth is held out to test.

    Raises:
        SkipweaveError: no such folder, no class in it, a class without images, or classes that differ between splits.
    """
    parts = {name: _read_classes(place) for name, place in find_parts(config).items()}
    deep = are_deep(parts["train" if "train" in parts else ""][1].paths)
    for _, images in parts.values():
        images.deep = deep
    if "" in parts:
        classes, images = parts[""]
        train, test = stratified_split(images.labels, TEST_FRACTION, config.split_seed, "testing")
        return ImageSplits(classes, images.subset(train), test=images.subset(test) if len(test) else None)
    classes, root = parts["train"][0], Path(config.root or "").expanduser()
    for name, (others, _) in parts.items():
        if others != classes:
            raise SkipweaveError(
                f"{root / name} has {len(others)} classes, {root / 'train'} has {len(classes)}: "
                f"expected the same ones; not in both: {', '.join(sorted(set(classes) ^ set(others)))}"
            )
    return ImageSplits(classes, **{name: images for name, (_, images) in parts.items()})


def find_parts(config: DataConfig) -> dict[str, Path]:
    """The folders that hold the class folders, by split; under "" that of a set that has no splits of its own.

    Raises:
        SkipweaveError: no such folder, or splits without train.
    """
    root = Path(config.root or "").expanduser()
    if not root.is_dir():
        raise SkipweaveError(f"no such folder: {root}: expected {_LAYOUTS}")
    parts = {name: root / name for name in ("train", "val", "test") if (root / name).is_dir()}
    if parts and "train" not in parts:
        raise SkipweaveError(f"{root} has {' and '.join(parts)} but no train: expected {_LAYOUTS}")
    return parts or {"": root}


def class_names(folder: Path) -> list[str]:
    """The folders in a folder, hidden ones left out: each is a class.

    Raises:
        SkipweaveError: the folder cannot be read.
    """
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
    except OSError as error:
        raise SkipweaveError(f"cannot read the folder {folder} ({error.strerror})") from error


def _read_classes(folder: Path) -> tuple[tuple[str, ...], FileImages]:
    """List a folder of images a class."""
    classes = {name: list(filter(is_image, walk_files(folder / name))) for name in class_names(folder)}
    if not classes:
        raise SkipweaveError(f"no class folder in {folder}: expected {_LAYOUTS}")
    if empty := [name for name, paths in classes.items() if not paths]:
        raise SkipweaveError(
            f"no image in the class folder(s) {', '.join(empty)} of {folder}: "
            f"expected files that end in {', '.join(EXTENSIONS)}"
        )
    labels = [label for label, paths in enumerate(classes.values()) for _ in paths]
    return tuple(classes), FileImages([path for paths in classes.values() for path in paths], labels, in_chans=3)
