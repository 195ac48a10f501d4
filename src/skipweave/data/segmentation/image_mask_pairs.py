"""Map-style segmentation dataset: image and mask files, paired by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from skipweave.data.images.decoding import open_image, open_upright, read_header
from skipweave.data.images.image_files import list_images
from skipweave.data.segmentation.class_list import ClassList
from skipweave.data.segmentation.mask_files import open_mask
from skipweave.data.splits import Indices
from skipweave_config.errors import SkipweaveError

_SHOWN = 10


class SegmentationDataset:
    """Map-style dataset of (image, mask), decoded from files on access.

    Args:
        pairs: (image, mask) files of equal size.
        classes: Classes of the masks.
        high_bit_depth: Whether the images have more than 8 bits per channel.
    """

    def __init__(self, pairs: Sequence[tuple[Path, Path]], classes: ClassList, *, high_bit_depth: bool = False) -> None:
        self.pairs = tuple(pairs)
        self.classes = classes
        self.high_bit_depth = high_bit_depth

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Load one pair: image, uint8 or (for more than 8 bits) float32, (3, H, W); and mask, uint8, (H, W).

        Raises:
            SkipweaveError: A file cannot be read, sizes differ, or the mask has a value that is no class.
        """
        image, mask = self.image(index), self.mask(index)
        self.check_sizes(index, image, mask)
        return image, mask

    def image(self, index: int) -> Tensor:
        """Load one image without its mask."""
        return open_image(self.pairs[index][0], in_chans=3, high_bit_depth=self.high_bit_depth)

    def mask(self, index: int) -> Tensor:
        """Load one mask without its image."""
        return open_mask(self.pairs[index][1], self.classes)

    def check_sizes(self, index: int, image: Tensor, mask: Tensor) -> None:
        """Check that an image and its mask have one size.

        Raises:
            SkipweaveError: Their sizes differ.
        """
        if image.shape[1:] != mask.shape:
            raise SkipweaveError(str(_size_problem(*self.pairs[index])))

    def file(self, index: int) -> str:
        """Path of an image."""
        return str(self.pairs[index][0])

    def image_name(self, index: int) -> str:
        """Path of an image."""
        return self.file(index)

    def subset(self, indices: Indices) -> "SegmentationDataset":
        """Subset of the pairs at these indices."""
        return SegmentationDataset(
            [self.pairs[index] for index in indices], self.classes, high_bit_depth=self.high_bit_depth
        )


class PairingError(NamedTuple):
    """File that is not in exactly one pair.

    Attributes:
        file: The file.
        problem: Predicate of a sentence whose subject is the file.
        pair: The pair that is incomplete, if one file of it is missing.
    """

    file: Path
    problem: str
    pair: tuple[Path, Path] | None = None

    def __str__(self) -> str:
        return f"{self.file} {self.problem}"


def pair_folders(images: Path, masks: Path, *, suffix: str = "", lenient: bool = False) -> list[tuple[Path, Path]]:
    """Pair the files of two folders, including subfolders, by their names without extension.

    Args:
        images: Folder of images.
        masks: Folder of masks.
        suffix: End of the names of masks, such as `_mask` for a.jpg and a_mask.png.
        lenient: Whether to return pairs of different sizes and pairs with a missing file, which raise when loaded.
            Otherwise the headers are read and sizes are compared.

    Returns:
        (image, mask) in natural order, pairs with a missing file last.

    Raises:
        SkipweaveError: A folder is missing or empty, or files have no partner, several, or one of another size; the
            message names the first ten.
    """
    pairs, unpaired = find_pairs(images, masks, suffix)
    if lenient:
        pairs += [error.pair for error in unpaired if error.pair]
        unpaired = [error for error in unpaired if not error.pair]
    problems = [*map(str, unpaired), *filter(None, (_size_error(*pair) for pair in pairs if not lenient))]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise SkipweaveError(
            f"{len(problems)} file(s) of {images} and {masks} cannot be paired: expected equal names (apart from "
            f"suffixes) and sizes: {'; '.join(problems[:_SHOWN])}{more}; `skipweave check-data` lists all"
        )
    return pairs


def find_pairs(images: Path, masks: Path, suffix: str = "") -> tuple[list[tuple[Path, Path]], list[PairingError]]:
    """Pair the files of two folders as `pair_folders` does, and return those that have not exactly one partner.

    Raises:
        SkipweaveError: A folder is missing or empty.
    """
    first, second = _by_name(images), _by_name(masks, suffix)
    errors = [
        PairingError(paths[0], f"has the same name as {', '.join(map(str, paths[1:]))}: expected one file per name")
        for found in (first, second)
        for paths in found.values()
        if len(paths) > 1
    ]
    errors += [
        PairingError(
            image,
            f"has no mask{suffix and f' {name.name}{suffix}'} in {masks}",
            (image, masks / image.relative_to(images)),
        )
        for name, (image, *_) in first.items()
        if name not in second
    ]
    errors += [
        PairingError(mask, f"has no image in {images}", (images / mask.relative_to(masks), mask))
        for name, (mask, *_) in second.items()
        if name not in first
    ]
    return [(paths[0], second[name][0]) for name, paths in first.items() if name in second], errors


def _by_name(folder: Path, suffix: str = "") -> dict[Path, list[Path]]:
    """List the images of a folder by their names without extension and suffix; those without the suffix by path."""
    found: dict[Path, list[Path]] = {}
    for path in list_images(folder):
        name = path.relative_to(folder)
        if path.stem.endswith(suffix):
            name = name.with_name(path.stem.removesuffix(suffix)) if path.stem != suffix else name
        found.setdefault(name, []).append(path)
    return found


def _size_error(image: Path, mask: Path) -> str:
    """Describe unreadable headers or different sizes; empty if there are none.

    The EXIF orientation, which is slow to read, is only read where the headers differ.
    """
    try:
        if read_header(image)[:2] == read_header(mask)[:2] or _upright_size(image) == _upright_size(mask):
            return ""
        return str(_size_problem(image, mask))
    except SkipweaveError as error:
        return str(error)


def _upright_size(path: Path) -> tuple[int, int]:
    with open_upright(path) as image:
        return image.size


def _size_problem(image: Path, mask: Path) -> PairingError:
    sizes = ["{} x {}".format(*_upright_size(path)) for path in (image, mask)]
    return PairingError(mask, f"is {sizes[1]} pixels, its image {image} {sizes[0]}")
