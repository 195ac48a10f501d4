"""Folder layouts of segmentation datasets: CamVid, and images with masks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skipweave.data.images.decoding import have_high_bit_depth
from skipweave.data.images.image_files import list_images
from skipweave.data.segmentation.class_list import ClassEntry, ClassList, read_classes
from skipweave.data.segmentation.image_mask_pairs import SegmentationDataset, pair_folders
from skipweave.data.segmentation.mask_files import binary_classes
from skipweave.data.splits import stratified_split
from skipweave_config.data_config import DataConfig
from skipweave_config.errors import SkipweaveError

_PARTS = ("train", "val", "test")

#: SegNet's 11 classes with the colors of the CamVid database (Brostow et al., 2008).
CAMVID = ClassList(
    (
        ClassEntry("sky", 0, (128, 128, 128)),
        ClassEntry("building", 1, (128, 0, 0)),
        ClassEntry("pole", 2, (192, 192, 128)),
        ClassEntry("road", 3, (128, 64, 128)),
        ClassEntry("sidewalk", 4, (0, 0, 192)),
        ClassEntry("tree", 5, (128, 128, 0)),
        ClassEntry("sign", 6, (192, 128, 128)),
        ClassEntry("fence", 7, (64, 64, 128)),
        ClassEntry("car", 8, (64, 0, 128)),
        ClassEntry("pedestrian", 9, (64, 64, 0)),
        ClassEntry("bicyclist", 10, (0, 128, 192)),
        ClassEntry("void", 11, (0, 0, 0)),
    ),
    "of CamVid",
)


@dataclass(frozen=True)
class Splits:
    """Splits of a dataset; None for a missing split."""

    train: SegmentationDataset
    val: SegmentationDataset | None = None
    test: SegmentationDataset | None = None


def read_splits(config: DataConfig) -> Splits:
    """Pair the files of a dataset and split them.

    Raises:
        SkipweaveError: A folder or the class list is missing, or files cannot be paired.
    """
    places, classes = find_places(config), find_classes(config)
    parts = {
        # Incomplete pairs may be skipped in training, so they raise only when they are loaded.
        part: SegmentationDataset(
            pair_folders(*place, suffix=config.mask_suffix, lenient=config.on_bad == "skip" and part in ("", "train")),
            classes,
        )
        for part, place in places.items()
    }
    high_bit_depth = config.name == "masks" and have_high_bit_depth(
        image for image, _ in parts["train" if "train" in parts else ""].pairs
    )
    for images in parts.values():
        images.high_bit_depth = high_bit_depth
    if "" in parts:
        train, test = _hold_out(parts[""], config.test, config, "testing")
        return _with_validation(Splits(train, test=test), config)
    return _with_validation(Splits(**parts), config)


def find_places(config: DataConfig) -> dict[str, tuple[Path, Path]]:
    """Find the folders of images and of masks, by split; by "" if the dataset has no splits of its own.

    Raises:
        SkipweaveError: They are missing.
    """
    root = Path(config.root or "").expanduser()
    return _camvid_places(root) if config.name == "camvid" else _masks_places(root)


def find_classes(config: DataConfig) -> ClassList:
    """Load the classes of a dataset; without a class list, binary masks have the classes background and foreground.

    Raises:
        SkipweaveError: The class list is missing or invalid.
    """
    if config.name == "camvid":
        return CAMVID
    if config.classes:
        return read_classes(config.classes.expanduser())
    listed = Path(config.root or "").expanduser() / "classes.csv"
    if not listed.exists():
        _, masks = next(iter(find_places(config).values()))
        if binary := binary_classes(list_images(masks), f"of binary masks (there is no {listed})"):
            return binary
    return read_classes(listed)


def _camvid_places(root: Path) -> dict[str, tuple[Path, Path]]:
    folder = root / "CamVid"
    missing = [name for part in _PARTS for name in (part, f"{part}annot") if not (folder / name).is_dir()]
    if missing:
        raise SkipweaveError(
            f"{folder} has no {', '.join(missing)}: expected CamVid as SegNet's authors distribute it, "
            f"ROOT/CamVid/train and trainannot, val and valannot, test and testannot"
        )
    return {part: (folder / part, folder / f"{part}annot") for part in _PARTS}


def _masks_places(root: Path) -> dict[str, tuple[Path, Path]]:
    places = {part: (root / part / "images", root / part / "masks") for part in _PARTS if (root / part).is_dir()}
    if "train" in places:
        return places
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return {"": (root / "images", root / "masks")}
    raise SkipweaveError(
        f"no train/images with train/masks, and no images with masks, in {root}: expected ROOT/train/images and "
        f"ROOT/train/masks with val and test alike if you have them, or ROOT/images and ROOT/masks alone"
    )


def _with_validation(splits: Splits, config: DataConfig) -> Splits:
    if splits.val or not config.validation:
        return splits
    return Splits(*_hold_out(splits.train, config.validation, config, "validation"), splits.test)


def _hold_out(
    images: SegmentationDataset, held_out: int | float, config: DataConfig, purpose: str
) -> tuple[SegmentationDataset, SegmentationDataset | None]:
    """Split off part of a dataset; returns the rest and that part, None if it is empty."""
    kept, held = stratified_split(np.zeros(len(images), dtype=np.int64), held_out, config.split_seed, purpose)
    return images.subset(kept), images.subset(held) if len(held) else None
