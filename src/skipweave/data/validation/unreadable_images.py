"""Search for unreadable images, and their exclusion from training.

They are excluded before training starts, so training is the same as without these files: every batch is a function of
(seed, epoch, step) for any number of workers and processes, and has the full batch size. Replacing an image while
loading would repeat another one; dropping it would change the batch size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from skipweave.data.datasets import ClassificationData
from skipweave.data.image_datasets import ImageDataset
from skipweave.data.parallel_map import parallel_map
from skipweave.data.segmentation import SegmentationData, SegmentationDataset
from skipweave.data.splits import class_counts
from skipweave_config.errors import SkipweaveError

_SHOWN = 3


@dataclass(frozen=True, order=True)
class Unreadable:
    """Image that cannot be read.

    Attributes:
        index: Index in its split.
        file: Path of the image.
        problem: Error message, also if the mask cannot be read.
    """

    index: int
    file: str
    problem: str


def find_unreadable(
    images: ImageDataset | SegmentationDataset,
    indices: Sequence[int],
    *,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Unreadable]:
    """Load images and return those that cannot be read.

    Args:
        images: Dataset.
        indices: Indices of the images to load.
        workers: Worker processes; 0 loads in the calling process.
        progress: Called with (images read, total images) after each image.
    """
    found = []
    for place, problem in enumerate(parallel_map(partial(_problem, images, indices), len(indices), workers)):
        if problem:
            found.append(Unreadable(indices[place], images.file(indices[place]), problem))
        if progress:
            progress(place + 1, len(indices))
    return found


def exclude(
    data: ClassificationData | SegmentationData, unreadable: Sequence[Unreadable]
) -> ClassificationData | SegmentationData:
    """Return the data without unreadable training images.

    Raises:
        SkipweaveError: No image is left, or none of a class.
    """
    if not unreadable:
        return data
    kept = np.setdiff1d(np.arange(len(data.train)), [image.index for image in unreadable])
    if not len(kept):
        raise SkipweaveError(f"none of the {len(data.train)} training images of {data.name} can be read")
    if isinstance(data, SegmentationData):
        return replace(data, train=data.train.subset(kept))
    train = data.train.subset(kept)
    before, after = (class_counts(part.labels, len(data.classes)) for part in (data.train, train))
    if lost := [data.classes[label] for label in np.flatnonzero((before > 0) & (after == 0))]:
        raise SkipweaveError(f"none of the training images of {', '.join(lost)} can be read")
    return replace(data, train=train)


def _problem(images: ImageDataset | SegmentationDataset, indices: Sequence[int], place: int) -> str:
    """Return why an image cannot be read; empty if it can."""
    try:
        images[indices[place]]
    except SkipweaveError as error:
        return str(error)
    return ""


def check_readable(split: str, unreadable: Sequence[Unreadable]) -> None:
    """Check that all images of an evaluation split can be read.

    Raises:
        SkipweaveError: Some cannot.
    """
    if unreadable:
        shown = "; ".join(image.problem for image in unreadable[:_SHOWN])
        more = f"; and {len(unreadable) - _SHOWN} more" if len(unreadable) > _SHOWN else ""
        raise SkipweaveError(
            f"{len(unreadable)} {split} image(s) cannot be read, and evaluation needs all of them: {shown}{more}; "
            f"`skipweave check-data` lists all"
        )
