"""What is wrong with one image, or one pair of image and label image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from skipweave.data.decoding import open_image, read_head
from skipweave.data.files import EXTENSIONS
from skipweave.data.segmentation import LabelledImages
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
class Files:
    """Image files to check.

    Attributes:
        paths: of them.
    """

    paths: Sequence[str | Path]

    def __len__(self) -> int:
        return len(self.paths)

    def check(self, index: int) -> list[Finding]:
        """Read one image."""
        path, found = self.paths[index], list[Finding]()
        if told(path, lambda: open_image(path, in_chans=3), found) is not None:
            _check_ending(path, found)
        return found


@dataclass(frozen=True)
class Pairs:
    """Images with label images to check.

    Attributes:
        images: the pairs.
    """

    images: LabelledImages

    def __len__(self) -> int:
        return len(self.images)

    def check(self, index: int) -> list[Finding]:
        """Read one pair: both files, even where the first is bad already."""
        (image_path, labels_path), found = self.images.pairs[index], list[Finding]()
        image = told(image_path, lambda: self.images.image(index), found)
        labels = told(labels_path, lambda: self.images.label_map(index), found)
        if image is not None and labels is not None:
            told(labels_path, lambda: self.images.check_sizes(index, image, labels), found)
            _check_ending(image_path, found)
            _check_ending(labels_path, found)
        return found


def told(place: str | Path, act: Callable[[], Value], found: list[Finding]) -> Value | None:
    """What an action answers; or None, and the mistake that it raised is among what was found."""
    try:
        return act()
    except SkipweaveError as error:
        problem = " ".join(str(error).replace(str(place), "").split())  # the place stands beside it
        found.append(Finding(str(place), problem))
        return None


def _check_ending(path: str | Path, found: list[Finding]) -> None:
    """Tell if the name of a good file promises another format."""
    kind, ending = read_head(path).format, Path(path).suffix.lower()
    if ending in EXTENSIONS and ending not in _ENDINGS.get(kind, ()):
        found.append(Finding(str(path), f"a {kind} file named {ending}: read as what it is", bad=False))
