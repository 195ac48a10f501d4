"""Checks of one image, or of one image and its mask: problems and value range."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from skipweave.data.images import dicom
from skipweave.data.images.decoding import open_image, read_header, read_pixel_type
from skipweave.data.images.image_files import EXTENSIONS
from skipweave.data.segmentation import SegmentationDataset
from skipweave.data.validation.image_facts import ImageFacts, facts_of
from skipweave_config.errors import SkipweaveError

Value = TypeVar("Value")

# File endings by Pillow's name of the format.
_ENDINGS = {
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "PPM": (".ppm", ".pgm"),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "DICOM": dicom.ENDINGS,
}


@dataclass(frozen=True)
class Finding:
    """Problem of a file, a folder, or an image in memory.

    Attributes:
        place: File, folder or image.
        problem: The problem, in one sentence.
        bad: Whether training or evaluation stops there; otherwise it is a note.
        kind: Name of findings of which a few examples are enough to print.
    """

    place: str
    problem: str
    bad: bool = True
    kind: str = ""


@dataclass(frozen=True)
class Values:
    """Value range of images.

    Attributes:
        kind: Pixel type, such as `8-bit RGB` or `16-bit gray`.
        images: Number of images.
        low: Lowest value.
        high: Highest value.
    """

    kind: str
    images: int
    low: float
    high: float


def add_values(known: dict[str, Values], seen: Values) -> None:
    """Merge the value range of images into the known ones, by pixel type."""
    both = [seen, *filter(None, [known.get(seen.kind)])]
    images, low, high = sum(v.images for v in both), min(v.low for v in both), max(v.high for v in both)
    known[seen.kind] = Values(seen.kind, images, low, high)


@dataclass(frozen=True)
class Checked:
    """Result of the check of an image, or of an image and its mask.

    Attributes:
        findings: Problems.
        file: File of the image.
        facts: Facts about the image; None if it cannot be read.
    """

    findings: Sequence[Finding]
    file: str
    facts: ImageFacts | None = None


@dataclass(frozen=True)
class ImageFiles:
    """Image files to check.

    Attributes:
        paths: The files.
        high_bit_depth: Whether the images of the dataset have more than 8 bits per channel.
        in_chans: Channels of the images of the dataset.
    """

    paths: Sequence[str | Path]
    high_bit_depth: bool = False
    in_chans: int = 3

    def __len__(self) -> int:
        return len(self.paths)

    def check(self, index: int) -> Checked:
        """Check one image."""
        path, found = self.paths[index], list[Finding]()
        image = collect(path, lambda: open_image(path, self.in_chans, high_bit_depth=self.high_bit_depth), found)
        if image is None:
            return Checked(found, str(path))
        _check_ending(path, found)
        return Checked(found, str(path), _facts(path, image))


@dataclass(frozen=True)
class ImageMaskPairs:
    """Image and mask files to check.

    Attributes:
        images: The pairs.
    """

    images: SegmentationDataset

    def __len__(self) -> int:
        return len(self.images)

    def check(self, index: int) -> Checked:
        """Check both files of one pair, also where the first is bad."""
        (image_path, mask_path), found = self.images.pairs[index], list[Finding]()
        image = collect(image_path, lambda: self.images.image(index), found)
        mask = collect(mask_path, lambda: self.images.mask(index), found)
        if image is not None and mask is not None:
            collect(mask_path, lambda: self.images.check_sizes(index, image, mask), found)
            _check_ending(image_path, found)
            _check_ending(mask_path, found)
        return Checked(found, str(image_path), None if image is None else _facts(image_path, image))


def collect(place: str | Path, act: Callable[[], Value], found: list[Finding]) -> Value | None:
    """Return the result of an action; None if it raises, in which case its error is added to the findings."""
    try:
        return act()
    except SkipweaveError as error:
        found.append(Finding(str(place), _without(str(place), str(error))))
        return None


def _without(place: str, problem: str) -> str:
    """Remove a path from a message, except where it is part of a longer path."""
    if os.sep in place:
        problem = re.sub(rf"(?<![\w./-]){re.escape(place)}(?![\w./-])", "", problem).replace(": :", ":")
    return " ".join(problem.split())


def _facts(path: str | Path, image: Tensor) -> ImageFacts:
    return facts_of(str(read_pixel_type(path)), image)


def _check_ending(path: str | Path, found: list[Finding]) -> None:
    """Add a note if a file name has the ending of another format."""
    name, ending = read_header(path).format, Path(path).suffix.lower()
    if ending in EXTENSIONS and ending not in _ENDINGS.get(name, ()):
        found.append(Finding(str(path), f"a {name} file named {ending}: loaded as {name}", bad=False))
