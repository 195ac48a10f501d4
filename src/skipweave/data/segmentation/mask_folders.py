"""Find the images and label images of a configured set in its folders."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skipweave.data.images.decoding import are_deep
from skipweave.data.segmentation.class_list import LabelClasses, Row, read_classes
from skipweave.data.segmentation.image_mask_pairs import SegmentationImages, pair_folders
from skipweave.data.splits import TEST_FRACTION, stratified_split
from skipweave.errors import SkipweaveError
from skipweave_config.data_config import DataConfig

_PARTS = ("train", "val", "test")

#: SegNet's 11 classes with the colors of the CamVid database (Brostow et al., 2008).
CAMVID = LabelClasses(
    (
        Row("sky", 0, (128, 128, 128)),
        Row("building", 1, (128, 0, 0)),
        Row("pole", 2, (192, 192, 128)),
        Row("road", 3, (128, 64, 128)),
        Row("sidewalk", 4, (0, 0, 192)),
        Row("tree", 5, (128, 128, 0)),
        Row("sign", 6, (192, 128, 128)),
        Row("fence", 7, (64, 64, 128)),
        Row("car", 8, (64, 0, 128)),
        Row("pedestrian", 9, (64, 64, 0)),
        Row("bicyclist", 10, (0, 128, 192)),
        Row("void", 11, (0, 0, 0)),
    ),
    "of CamVid",
)


@dataclass(frozen=True)
class Splits:
    """A set's splits, None where it has no such split."""

    train: SegmentationImages
    val: SegmentationImages | None = None
    test: SegmentationImages | None = None


def read_splits(config: DataConfig) -> Splits:
    """Find the pairs that a configuration names and split them.

    Raises:
        SkipweaveError: a folder or the class list is missing, or files cannot be paired.
    """
    places, classes = find_places(config), find_classes(config)
    parts = {
        # Pairs that do not fit may be left out of training, so they are left to reading.
        part: SegmentationImages(
            pair_folders(*place, lenient=config.on_bad == "skip" and part in ("", "train")), classes
        )
        for part, place in places.items()
    }
    deep = config.name == "masks" and are_deep(image for image, _ in parts["train" if "train" in parts else ""].pairs)
    for images in parts.values():
        images.deep = deep
    if "" in parts:
        train, test = _hold_out(parts[""], TEST_FRACTION, config, "testing")
        return _with_validation(Splits(train, test=test), config)
    return _with_validation(Splits(**parts), config)


def find_places(config: DataConfig) -> dict[str, tuple[Path, Path]]:
    """The folders of images and of label images, by split; under "" those of a set that has no splits of its own.

    Raises:
        SkipweaveError: they are not there.
    """
    root = Path(config.root or "").expanduser()
    return _camvid_places(root) if config.name == "camvid" else _masks_places(root)


def find_classes(config: DataConfig) -> LabelClasses:
    """The classes of a configured set.

    Raises:
        SkipweaveError: the class list is missing or wrong.
    """
    if config.name == "camvid":
        return CAMVID
    root = Path(config.root or "").expanduser()
    return read_classes(config.classes.expanduser() if config.classes else root / "classes.csv")


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
    images: SegmentationImages, share: int | float, config: DataConfig, purpose: str
) -> tuple[SegmentationImages, SegmentationImages | None]:
    """What is left, and what is held out; None if that is nothing."""
    kept, held = stratified_split(np.zeros(len(images), dtype=np.int64), share, config.split_seed, purpose)
    return images.subset(kept), images.subset(held) if len(held) else None
