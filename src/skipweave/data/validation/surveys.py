"""What there is to read of a data set, and what is wrong with how it lies in its folders."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import filterfalse
from pathlib import Path

import numpy as np

from skipweave.data.class_folders import class_names, find_parts
from skipweave.data.datasets import load
from skipweave.data.image_sets import FileImages, ImageSet, MemoryImages
from skipweave.data.images.decoding import are_deep
from skipweave.data.images.image_files import is_image, walk_files
from skipweave.data.segmentation import SegmentationImages
from skipweave.data.segmentation.image_mask_pairs import find_pairs
from skipweave.data.segmentation.mask_folders import find_classes, find_places
from skipweave.data.validation.findings import Files, Finding, Pairs, Values, add_values, told
from skipweave_config.data_config import DEEP_NAMES, SEGMENTATION_NAMES, DataConfig


@dataclass
class Survey:
    """What was found before any image is read.

    Attributes:
        parts: files to read.
        in_memory: images that came as arrays, read already.
        values: of these, by kind.
        findings: what is wrong.
    """

    parts: list[Files | Pairs] = field(default_factory=list)
    in_memory: int = 0
    values: dict[str, Values] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def survey(config: DataConfig) -> Survey:
    """Look at the files and folders of a data set, without reading images that have files of their own."""
    found = Survey()
    look = _look_at_set
    if config.name == "folder":
        look = _look_at_classes
    elif config.name in SEGMENTATION_NAMES:
        look = _look_at_pairs
    told(config.root or config.name, lambda: look(config, found), found.findings)
    return found


def _look_at_classes(config: DataConfig, found: Survey) -> None:
    """A folder a class, with splits or without."""
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
        _tell_of_cases(place, names, found)
        _tell_of_others(sorted(filter(Path.is_file, place.iterdir())), "lies in no class folder", found)
        for name in names:
            files = walk_files(place / name)
            images = list(filter(is_image, files))
            if not images:
                found.findings.append(Finding(str(place / name), "no image in the class folder"))
            _tell_of_others(_not_images(files), "no image by its name", found)
            listed.setdefault(place, []).extend(images)
    deep = are_deep(listed.get(places.get("train", places.get("", Path())), []))
    found.parts += [Files(images, deep) for images in listed.values()]


def _look_at_pairs(config: DataConfig, found: Survey) -> None:
    """Folders of images and of label images."""
    places, classes = find_places(config), find_classes(config)
    deep = None
    for images, masks in places.values():  # training images first
        answer = told(images.parent, partial(find_pairs, images, masks), found.findings)
        if answer:
            pairs, mistakes = answer
            found.findings += [Finding(str(mistake.file), mistake.why) for mistake in mistakes]
            if deep is None:
                deep = config.name in DEEP_NAMES and are_deep(image for image, _ in pairs)
            found.parts.append(Pairs(SegmentationImages(pairs, classes, deep=deep)))
            for place in (images, masks):
                _tell_of_others(_not_images(walk_files(place)), "no image by its name", found)


def _look_at_set(config: DataConfig, found: Survey) -> None:
    """A named set, which its own reader reads: as files, or at once."""
    data = load(config)
    for name in ("train", "val", "test"):
        images: ImageSet | None = getattr(data, name)
        if isinstance(images, FileImages):
            found.parts.append(Files(images.paths))
        elif images is not None:
            found.in_memory += len(images)
            if isinstance(images, MemoryImages):
                pixels = images.images
                kind = f"8-bit {'gray' if pixels.shape[1] == 1 else 'RGB'}"
                add_values(found.values, Values(kind, len(images), pixels.min().item(), pixels.max().item()))
            for index in np.flatnonzero((images.labels < 0) | (images.labels >= len(data.classes))):
                place = f"{config.name}, {name}, image {index}"
                problem = f"has label {images.labels[index]}: expected 0 to {len(data.classes) - 1}"
                found.findings.append(Finding(place, problem))


def _tell_of_cases(place: Path, names: Iterable[str], found: Survey) -> None:
    """Class folders that are one folder on other systems; two classes here."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(name.casefold(), []).append(name)
    for several in alike.values():
        if len(several) > 1:
            problem = f"class folders that differ in case only, read as several classes: {', '.join(several)}"
            found.findings.append(Finding(str(place), problem, bad=False))


def _not_images(files: Iterable[Path]) -> Iterator[Path]:
    return filterfalse(is_image, files)


def _tell_of_others(files: Iterable[Path], why: str, found: Survey) -> None:
    """Files that are passed over; hidden ones are meant to be."""
    shown = (path for path in files if path.name[0] != ".")
    found.findings += [Finding(str(path), f"{why}: passed over", bad=False) for path in shown]
