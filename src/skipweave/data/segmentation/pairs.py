"""Images with their label maps: found in folders, paired by name, read when asked for."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from skipweave.data.files import list_images, open_image, open_upright
from skipweave.data.segmentation.classes import LabelClasses
from skipweave.data.segmentation.label_files import open_labels
from skipweave.data.splits import Indices
from skipweave.errors import SkipweaveError

_SHOWN = 10


class LabelledImages:
    """Pairs of an image file and a label image file, a map-style data set of (image, labels).

    Args:
        pairs: (image, label image) files, of one size each.
        classes: what the label images' values and colours stand for.
    """

    def __init__(self, pairs: Sequence[tuple[Path, Path]], classes: LabelClasses) -> None:
        self.pairs = tuple(pairs)
        self.classes = classes

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Read one pair: pixels, uint8 (3, H, W), and labels, uint8 (H, W).

        Raises:
            SkipweaveError: a file cannot be read, their sizes differ, or the label image holds what is no class.
        """
        path, labels_path = self.pairs[index]
        image, labels = open_image(path, in_chans=3), self.label_map(index)
        if image.shape[1:] != labels.shape:
            raise SkipweaveError(_size_problem(path, labels_path))
        return image, labels

    def label_map(self, index: int) -> Tensor:
        """Read the labels of one image alone."""
        return open_labels(self.pairs[index][1], self.classes)

    def file(self, index: int) -> str:
        """The path of an image."""
        return str(self.pairs[index][0])

    def subset(self, indices: Indices) -> "LabelledImages":
        """The pairs at these positions, as a set of its own."""
        return LabelledImages([self.pairs[index] for index in indices], self.classes)


def pair_folders(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """Pair the files of two folders by their names without suffix, sub-folders included.

    Returns:
        (image, label image) in natural order.

    Raises:
        SkipweaveError: a folder is missing or empty; or files have no partner, several, or one of another size: the
            first ten are named, and all are counted.
    """
    first, second = _by_name(images), _by_name(masks)
    problems = [
        f"{' and '.join(str(path) for path in paths)} have one name: expected one file of it"
        for found in (first, second)
        for paths in found.values()
        if len(paths) > 1
    ]
    problems += [f"{paths[0]} has no label image in {masks}" for name, paths in first.items() if name not in second]
    problems += [f"{paths[0]} has no image in {images}" for name, paths in second.items() if name not in first]
    pairs = [(paths[0], second[name][0]) for name, paths in first.items() if name in second]
    problems += [_size_problem(*pair) for pair in pairs if _sizes_differ(*pair)]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise SkipweaveError(
            f"{len(problems)} mistake(s) in pairing {images} with {masks}, expected files of the same names (suffixes "
            f"may differ) and sizes: {'; '.join(problems[:_SHOWN])}{more}"
        )
    return pairs


def _by_name(folder: Path) -> dict[Path, list[Path]]:
    found: dict[Path, list[Path]] = {}
    for path in list_images(folder):
        found.setdefault(path.relative_to(folder).with_suffix(""), []).append(path)
    return found


def _sizes_differ(image: Path, labels: Path) -> bool:
    """Compare what the files' heads say; only where that differs the orientation is looked for, which is slow."""
    return _head_size(image) != _head_size(labels) and _upright_size(image) != _upright_size(labels)


def _head_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except Exception:  # whatever it is, opening it to the end tells it well
        return _upright_size(path)


def _upright_size(path: Path) -> tuple[int, int]:
    with open_upright(path) as image:
        return image.size


def _size_problem(image: Path, labels: Path) -> str:
    sizes = ["{} x {}".format(*_upright_size(path)) for path in (image, labels)]
    return f"{labels} is {sizes[1]} pixels, its image {image} {sizes[0]}"
