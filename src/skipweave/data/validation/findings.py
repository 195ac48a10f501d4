"""What is wrong with one image, or one pair of image and label image; and which values it holds."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from skipweave.data.images.decoding import open_alike, read_head, read_kind
from skipweave.data.images.image_files import EXTENSIONS
from skipweave.data.segmentation import SegmentationImages
from skipweave.errors import SkipweaveError

Value = TypeVar("Value")

# The endings that go with each format, as Pillow calls it.
_ENDINGS = {
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "PPM": (".ppm", ".pgm"),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}


@dataclass(frozen=True)
class Finding:
    """What is wrong with a file, a folder, or an item that has no file of its own.

    Attributes:
        place: the file, folder or item.
        problem: of it, in one sentence.
        bad: whether training or evaluation stops there; else they go on, as the problem says.
    """

    place: str
    problem: str
    bad: bool = True


@dataclass(frozen=True)
class Values:
    """The values of images.

    Attributes:
        kind: such as `8-bit RGB` or `16-bit gray`.
        images: how many.
        low: the lowest value.
        high: the highest one.
    """

    kind: str
    images: int
    low: float
    high: float


def add_values(known: dict[str, Values], seen: Values) -> None:
    """Add the values of some images to those of others, by kind."""
    both = [seen, *filter(None, [known.get(seen.kind)])]
    images, low, high = sum(v.images for v in both), min(v.low for v in both), max(v.high for v in both)
    known[seen.kind] = Values(seen.kind, images, low, high)


@dataclass(frozen=True)
class Checked:
    """What was seen of an image, or of a pair.

    Attributes:
        findings: what is wrong.
        values: of the image; None if it cannot be read.
    """

    findings: Sequence[Finding]
    values: Values | None = None


@dataclass(frozen=True)
class Files:
    """Image files to check.

    Attributes:
        paths: of them.
        deep: whether the set's images have more than 8 bits a channel.
    """

    paths: Sequence[str | Path]
    deep: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    def check(self, index: int) -> Checked:
        """Read one image."""
        path, found = self.paths[index], list[Finding]()
        image = told(path, lambda: open_alike(path, in_chans=3, deep=self.deep), found)
        if image is None:
            return Checked(found)
        _check_ending(path, found)
        return Checked(found, _values(path, image))


@dataclass(frozen=True)
class Pairs:
    """Images with label images to check.

    Attributes:
        images: the pairs.
    """

    images: SegmentationImages

    def __len__(self) -> int:
        return len(self.images)

    def check(self, index: int) -> Checked:
        """Read one pair: both files, even where the first is bad already."""
        (image_path, labels_path), found = self.images.pairs[index], list[Finding]()
        image = told(image_path, lambda: self.images.image(index), found)
        labels = told(labels_path, lambda: self.images.label_map(index), found)
        if image is not None and labels is not None:
            told(labels_path, lambda: self.images.check_sizes(index, image, labels), found)
            _check_ending(image_path, found)
            _check_ending(labels_path, found)
        return Checked(found, None if image is None else _values(image_path, image))


def told(place: str | Path, act: Callable[[], Value], found: list[Finding]) -> Value | None:
    """What an action answers; or None, and the mistake that it raised is among what was found."""
    try:
        return act()
    except SkipweaveError as error:
        found.append(Finding(str(place), _without(str(place), str(error))))
        return None


def _without(place: str, problem: str) -> str:
    """A problem without the place that stands beside it, if it is a path, and not where it begins a longer one."""
    if os.sep in place:
        problem = re.sub(rf"(?<![\w./-]){re.escape(place)}(?![\w./-])", "", problem).replace(": :", ":")
    return " ".join(problem.split())


def _values(path: str | Path, image: Tensor) -> Values:
    return Values(str(read_kind(path)), 1, image.min().item(), image.max().item())


def _check_ending(path: str | Path, found: list[Finding]) -> None:
    """Tell if the name of a good file promises another format."""
    kind, ending = read_head(path).format, Path(path).suffix.lower()
    if ending in EXTENSIONS and ending not in _ENDINGS.get(kind, ()):
        found.append(Finding(str(path), f"a {kind} file named {ending}: read as what it is", bad=False))
