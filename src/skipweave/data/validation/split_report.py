"""Summary of each split of a dataset, and images that are in two splits."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from skipweave.data.datasets import ClassificationData
from skipweave.data.image_datasets import ImageDataset, MemoryDataset
from skipweave.data.segmentation import SegmentationData, SegmentationDataset
from skipweave.data.splits import class_counts
from skipweave.data.validation.findings import Finding
from skipweave.data.validation.image_facts import ImageFacts, facts_of

ALIKE = "images of two splits that look alike"
_PARTS = 4  # of a hash, which differ in fewer bits in copies
_FEW, _COMMON = 10, 0.05  # most images of one look, as a number and as a fraction of all
Span = tuple[float, float]
"""Lowest and highest."""


@dataclass(frozen=True)
class SplitReport:
    """Summary of a split.

    Attributes:
        name: train, validation or test.
        images: Number of images.
        kinds: Number of images of each pixel type.
        values: Lowest and highest value.
        heights: Lowest and highest height in pixels.
        widths: Lowest and highest width in pixels.
        classes: Number of images of each class; empty for segmentation.
    """

    name: str
    images: int
    kinds: Mapping[str, int]
    values: Span
    heights: Span
    widths: Span
    classes: Mapping[str, int]


Placed = dict[str, dict[str, ImageFacts]]
"""Facts about the images of each split, by file, or by index in memory."""


def place_facts(data: ClassificationData | SegmentationData, facts: Mapping[str, ImageFacts]) -> Placed:
    """Sort facts by split.

    Args:
        data: The dataset.
        facts: Facts by file; those about images in memory are gathered.
    """
    return {name: dict(_facts(images, f"{data.name}, {name}", facts)) for name, images in data.splits.items() if images}


def _facts(
    images: ImageDataset | SegmentationDataset, name: str, facts: Mapping[str, ImageFacts]
) -> Iterator[tuple[str, ImageFacts]]:
    for index in range(len(images)):
        if isinstance(images, MemoryDataset):
            pixels = images.images[index]
            kind = f"8-bit {'gray' if len(pixels) == 1 else 'RGB'}"
            yield f"{name}, image {index}", facts_of(kind, pixels)
        elif (file := images.file(index)) in facts:
            yield file, facts[file]


def summarize(data: ClassificationData | SegmentationData, placed: Placed) -> tuple[SplitReport, ...]:
    """Summarize each split."""
    return tuple(_summary(name, images, _classes(data, name)) for name, images in placed.items() if images)


def _summary(name: str, images: Mapping[str, ImageFacts], classes: Mapping[str, int]) -> SplitReport:
    facts = images.values()
    kinds: dict[str, int] = {}
    for one in facts:
        kinds[one.kind] = kinds.get(one.kind, 0) + 1
    values = min(one.low for one in facts), max(one.high for one in facts)
    heights, widths = ((min(side), max(side)) for side in zip(*((one.height, one.width) for one in facts), strict=True))
    return SplitReport(name, len(facts), kinds, values, heights, widths, classes)


def _classes(data: ClassificationData | SegmentationData, name: str) -> dict[str, int]:
    if isinstance(data, SegmentationData):
        return {}
    images = data.splits[name]
    assert images is not None
    return dict(zip(data.classes, class_counts(images.labels, len(data.classes)).tolist(), strict=True))


def find_leaks(placed: Placed) -> list[Finding]:
    """Find images that are in two splits: with equal pixels, or with the same look.

    Looks that many images share, as scans of one kind do, are no sign of a copy.
    """
    found: list[Finding] = []
    by_pixels: dict[bytes, _Place] = {}
    looks = _Looks((facts.look, (split, file)) for split, images in placed.items() for file, facts in images.items())
    earlier: list[str] = []
    for split, images in placed.items():
        for file, facts in images.items():
            same = by_pixels.setdefault(facts.checksum, (split, file))
            alike = next((place for place in looks.near(facts.look) if place[0] in earlier), None)
            if same[0] != split:
                found.append(Finding(file, f"in {split}, has the pixels of {same[1]} in {same[0]}", bad=False))
            elif alike:
                found.append(Finding(file, f"in {split}, looks like {alike[1]} in {alike[0]}", bad=False, kind=ALIKE))
        earlier.append(split)
    return found


_Place = tuple[str, str]
"""Split and file."""


class _Looks:
    """Index of difference hashes: two that differ by at most three of 64 bits are equal in one of four parts of 16.

    Args:
        images: Hash, None without one, and place of each image.
    """

    def __init__(self, images: Iterable[tuple[int | None, _Place]]) -> None:
        self._places: dict[int, list[_Place]] = {}
        for look, place in images:
            if look is not None:
                self._places.setdefault(look, []).append(place)
        self._by_part: dict[tuple[int, int], list[int]] = {}
        for look in self._places:
            for part in _parts(look):
                self._by_part.setdefault(part, []).append(look)
        self._most = max(_FEW, _COMMON * sum(map(len, self._places.values())))

    def near(self, look: int | None) -> list[_Place]:
        """Return the images that look like one, itself included; none if they are many."""
        if look is None:
            return []
        candidates = dict.fromkeys(other for part in _parts(look) for other in self._by_part[part])
        near = [other for other in candidates if (other ^ look).bit_count() < _PARTS]
        if sum(len(self._places[other]) for other in near) > self._most:
            return []
        return [place for other in near for place in self._places[other]]


def _parts(look: int) -> list[tuple[int, int]]:
    """Parts of a hash with their places."""
    return [(place, look >> 16 * place & 0xFFFF) for place in range(_PARTS)]
