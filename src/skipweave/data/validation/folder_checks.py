"""Checks of the folder structure of a dataset."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import filterfalse
from pathlib import Path

import numpy as np

from skipweave.data.datasets import load
from skipweave.data.image_datasets import FileDataset, ImageDataset, MemoryDataset
from skipweave.data.images.decoding import first_pixel_type, have_high_bit_depth
from skipweave.data.images.image_files import is_image, walk_files
from skipweave.data.segmentation import SegmentationDataset
from skipweave.data.segmentation.image_mask_pairs import find_pairs
from skipweave.data.segmentation.mask_folders import find_classes, find_places
from skipweave.data.sources.class_folders import class_names, find_parts
from skipweave.data.sources.table_dataset import open_table
from skipweave.data.validation.findings import Finding, ImageFiles, ImageMaskPairs, Values, add_values, collect
from skipweave_config.data_config import DEEP_NAMES, SEGMENTATION_NAMES, DataConfig


@dataclass
class FolderReport:
    """Result of the checks of folders, before images are loaded.

    Attributes:
        parts: Files to check.
        in_memory: Number of images that are in memory already.
        values: Value ranges of these, by pixel type.
        findings: Problems.
    """

    parts: list[ImageFiles | ImageMaskPairs] = field(default_factory=list)
    in_memory: int = 0
    values: dict[str, Values] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def check_folders(config: DataConfig) -> FolderReport:
    """Check the files and folders of a dataset, without decoding image files."""
    found = FolderReport()
    check = _check_named_dataset
    if config.name == "folder":
        check = _check_class_folders
    elif config.name == "csv":
        check = _check_label_table
    elif config.name in SEGMENTATION_NAMES:
        check = _check_image_mask_folders
    collect(config.root or config.name, lambda: check(config, found), found.findings)
    return found


def _check_class_folders(config: DataConfig, found: FolderReport) -> None:
    """Check a dataset of class folders, with or without splits."""
    places = find_parts(config)
    classes = {place: class_names(place) for place in places.values()}
    listed: dict[Path, list[Path]] = {}
    everywhere = sorted(set().union(*classes.values()))
    for place, names in classes.items():
        if not names:
            found.findings.append(Finding(str(place), "holds no class folder"))
        for name in everywhere:
            if name not in names:
                found.findings.append(Finding(str(place), f"has no class folder {name}, which another split has"))
        _note_ignored_files(sorted(filter(Path.is_file, place.iterdir())), "is in no class folder", found)
        for name in names:
            files = walk_files(place / name)
            images = list(filter(is_image, files))
            if not images:
                found.findings.append(Finding(str(place / name), "no image in the class folder"))
            _note_ignored_files(_not_images(files), "has no image extension", found)
            listed.setdefault(place, []).extend(images)
    kind = first_pixel_type(listed.get(places.get("train", places.get("", Path())), []))
    channels = config.channels or kind.bands or 3
    found.parts += [ImageFiles(images, kind.high_bit_depth, channels) for images in listed.values()]


def _check_label_table(config: DataConfig, found: FolderReport) -> None:
    """Check a table of labels; its images are checked in one part."""
    table = open_table(config)
    found.findings += [Finding(row.place, row.problem) for row in table.problems]
    found.findings += [Finding(str(table.source), note, bad=False) for note in table.notes]
    kind = first_pixel_type(table.paths)
    found.parts.append(ImageFiles(table.paths, kind.high_bit_depth, config.channels or kind.bands or 3))


def _check_image_mask_folders(config: DataConfig, found: FolderReport) -> None:
    """Check folders of images and masks."""
    places, classes = find_places(config), find_classes(config)
    high_bit_depth = None
    for images, masks in places.values():  # training images first
        result = collect(images.parent, partial(find_pairs, images, masks, config.mask_suffix), found.findings)
        if result:
            pairs, errors = result
            found.findings += [Finding(str(error.file), error.problem) for error in errors]
            if high_bit_depth is None:
                high_bit_depth = config.name in DEEP_NAMES and have_high_bit_depth(image for image, _ in pairs)
            found.parts.append(ImageMaskPairs(SegmentationDataset(pairs, classes, high_bit_depth=high_bit_depth)))
            for place in (images, masks):
                _note_ignored_files(_not_images(walk_files(place)), "has no image extension", found)


def _check_named_dataset(config: DataConfig, found: FolderReport) -> None:
    """Check a named dataset, which its loader reads as files or into memory."""
    data = load(config)
    for name in ("train", "val", "test"):
        images: ImageDataset | None = getattr(data, name)
        if isinstance(images, FileDataset):
            found.parts.append(ImageFiles(images.paths))
        elif images is not None:
            found.in_memory += len(images)
            if isinstance(images, MemoryDataset):
                pixels = images.images
                kind = f"8-bit {'gray' if pixels.shape[1] == 1 else 'RGB'}"
                add_values(found.values, Values(kind, len(images), pixels.min().item(), pixels.max().item()))
            for index in np.flatnonzero((images.labels < 0) | (images.labels >= len(data.classes))):
                place = f"{config.name}, {name}, image {index}"
                problem = f"has label {images.labels[index]}: expected 0 to {len(data.classes) - 1}"
                found.findings.append(Finding(place, problem))


def _not_images(files: Iterable[Path]) -> Iterator[Path]:
    return filterfalse(is_image, files)


def _note_ignored_files(files: Iterable[Path], why: str, found: FolderReport) -> None:
    """Add a note for each ignored file, except hidden ones."""
    shown = (path for path in files if path.name[0] != ".")
    found.findings += [Finding(str(path), f"{why}: ignored", bad=False) for path in shown]
