"""Images with their label maps: found in folders, paired by name, read when asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from skipweave.data.images.decoding import open_alike, open_upright, read_head
from skipweave.data.images.image_files import list_images
from skipweave.data.segmentation.class_list import LabelClasses
from skipweave.data.segmentation.mask_files import open_labels
from skipweave.data.splits import Indices
from skipweave.errors import SkipweaveError

_SHOWN = 10


class SegmentationImages:
    """Pairs of an image file and a label image file, a map-style data set of (image, labels).

    Args:
        pairs: (image, label image) files, of one size each.
        classes: what the label images' values and colors stand for.
        deep: whether the images have more than 8 bits a channel.
    """

    def __init__(self, pairs: Sequence[tuple[Path, Path]], classes: LabelClasses, *, deep: bool = False) -> None:
        self.pairs = tuple(pairs)
        self.classes = classes
        self.deep = deep

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Read one pair: pixels, uint8 or, of more than 8 bits, float32 (3, H, W); and labels, uint8 (H, W).

        Raises:
            SkipweaveError: a file cannot be read, their sizes differ, or the label image holds what is no class.
        """
        image, labels = self.image(index), self.label_map(index)
        self.check_sizes(index, image, labels)
        return image, labels

    def image(self, index: int) -> Tensor:
        """Read one image alone."""
        return open_alike(self.pairs[index][0], in_chans=3, deep=self.deep)

    def label_map(self, index: int) -> Tensor:
        """Read the labels of one image alone."""
        return open_labels(self.pairs[index][1], self.classes)

    def check_sizes(self, index: int, image: Tensor, labels: Tensor) -> None:
        """Check that an image and its labels have one size.

        Raises:
            SkipweaveError: they have not.
        """
        if image.shape[1:] != labels.shape:
            raise SkipweaveError(str(_size_problem(*self.pairs[index])))

    def file(self, index: int) -> str:
        """The path of an image."""
        return str(self.pairs[index][0])

    def subset(self, indices: Indices) -> "SegmentationImages":
        """The pairs at these positions, as a set of its own."""
        return SegmentationImages([self.pairs[index] for index in indices], self.classes, deep=self.deep)


class Mistake(NamedTuple):
    """A file that fits no other; why, as a sentence that begins with the file goes on; the pair that it belongs to."""

    file: Path
    why: str
    pair: tuple[Path, Path] | None = None

    def __str__(self) -> str:
        return f"{self.file} {self.why}"


def pair_folders(images: Path, masks: Path, *, lenient: bool = False) -> list[tuple[Path, Path]]:
    """Pair the files of two folders by their names without suffix, sub-folders included.

    Args:
        images: folder of image files.
        masks: folder of label image files.
        lenient: whether what is wrong with a single pair is left to reading it: sizes, and a file that is missing. Else
            the files' heads are read and sizes compared.

    Returns:
        (image, label image) in natural order, those of which a file is missing behind the others.

    Raises:
        SkipweaveError: a folder is missing or empty; or files have no partner, several, or one of another size: the
            first ten are named, and all are counted.
    """
    pairs, unpaired = find_pairs(images, masks)
    if lenient:
        pairs += [mistake.pair for mistake in unpaired if mistake.pair]
        unpaired = [mistake for mistake in unpaired if not mistake.pair]
    mistakes = [*map(str, unpaired), *filter(None, (_size_mistake(*pair) for pair in pairs if not lenient))]
    if mistakes:
        more = f"; and {len(mistakes) - _SHOWN} more" if len(mistakes) > _SHOWN else ""
        raise SkipweaveError(
            f"{len(mistakes)} mistake(s) in pairing {images} with {masks}, expected files of the same names (suffixes "
            f"may differ) and sizes: {'; '.join(mistakes[:_SHOWN])}{more}; `skipweave check-data` lists all"
        )
    return pairs


def find_pairs(images: Path, masks: Path) -> tuple[list[tuple[Path, Path]], list[Mistake]]:
    """Pair the files of two folders by their names, as `pair_folders` does, and tell which have not one partner.

    Raises:
        SkipweaveError: a folder is missing or empty.
    """
    first, second = _by_name(images), _by_name(masks)
    mistakes = [
        Mistake(paths[0], f"has the name of {', '.join(map(str, paths[1:]))} too: expected one file of it")
        for found in (first, second)
        for paths in found.values()
        if len(paths) > 1
    ]
    mistakes += [
        Mistake(image, f"has no label image in {masks}", (image, masks / image.relative_to(images)))
        for name, (image, *_) in first.items()
        if name not in second
    ]
    mistakes += [
        Mistake(labels, f"has no image in {images}", (images / labels.relative_to(masks), labels))
        for name, (labels, *_) in second.items()
        if name not in first
    ]
    return [(paths[0], second[name][0]) for name, paths in first.items() if name in second], mistakes


def _by_name(folder: Path) -> dict[Path, list[Path]]:
    found: dict[Path, list[Path]] = {}
    for path in list_images(folder):
        found.setdefault(path.relative_to(folder).with_suffix(""), []).append(path)
    return found


def _size_mistake(image: Path, labels: Path) -> str:
    """That the files' heads cannot be read or their sizes differ, or nothing.

    Only where the heads differ the orientation is looked for, which is slow.
    """
    try:
        if read_head(image)[:2] == read_head(labels)[:2] or _upright_size(image) == _upright_size(labels):
            return ""
        return str(_size_problem(image, labels))
    except SkipweaveError as error:
        return str(error)


def _upright_size(path: Path) -> tuple[int, int]:
    with open_upright(path) as image:
        return image.size


def _size_problem(image: Path, labels: Path) -> Mistake:
    sizes = ["{} x {}".format(*_upright_size(path)) for path in (image, labels)]
    return Mistake(labels, f"is {sizes[1]} pixels, its image {image} {sizes[0]}")
