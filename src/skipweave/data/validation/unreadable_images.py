"""Leave unreadable images out of training, before it begins.

Training then is what it would be had the files not been there: every batch stays a function of (seed, epoch, step),
whatever the number of workers or processes, and holds as many images as any other. Were a bad image replaced where it
is met, another would count twice; were it dropped there, batches would differ in size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from skipweave.data.datasets import ImageData
from skipweave.data.image_sets import ImageSet
from skipweave.data.parallel_map import each
from skipweave.data.segmentation import SegmentationData, SegmentationImages
from skipweave.errors import SkipweaveError

_SHOWN = 3


@dataclass(frozen=True, order=True)
class Unreadable:
    """An image that cannot be read.

    Attributes:
        index: in its split.
        file: of the image.
        problem: as reading it told, also where its label image is the problem.
    """

    index: int
    file: str
    problem: str


def find_unreadable(
    images: ImageSet | SegmentationImages,
    indices: Sequence[int],
    *,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Unreadable]:
    """Read images, and tell which cannot be.

    Args:
        images: a split.
        indices: of the images to read.
        workers: processes that read; 0 reads in this one.
        progress: told (images read, images to read) after each.
    """
    found = []
    for place, told in enumerate(each(partial(_problem, images, indices), len(indices), workers)):
        if told:
            found.append(Unreadable(indices[place], images.file(indices[place]), told))
        if progress:
            progress(place + 1, len(indices))
    return found


def without(data: ImageData | SegmentationData, left_out: Sequence[Unreadable]) -> ImageData | SegmentationData:
    """The same data without some of its training images.

    Raises:
        SkipweaveError: no image is left, or none of a class.
    """
    if not left_out:
        return data
    kept = np.setdiff1d(np.arange(len(data.train)), [image.index for image in left_out])
    if not len(kept):
        raise SkipweaveError(f"none of the {len(data.train)} training images of {data.name} can be read")
    if isinstance(data, SegmentationData):
        return replace(data, train=data.train.subset(kept))
    train = data.train.subset(kept)
    before, after = (set(part.labels.tolist()) for part in (data.train, train))
    if lost := [data.classes[label] for label in sorted(before - after)]:
        raise SkipweaveError(f"none of the training images of {', '.join(lost)} can be read")
    return replace(data, train=train)


def _problem(images: ImageSet | SegmentationImages, indices: Sequence[int], place: int) -> str:
    """Why an image cannot be read, or nothing."""
    try:
        images[indices[place]]
    except SkipweaveError as error:
        return str(error)
    return ""


def refuse_unreadable(split: str, unreadable: Sequence[Unreadable]) -> None:
    """Refuse to leave images out of a split that is scored.

    Raises:
        SkipweaveError: there are such images.
    """
    if unreadable:
        shown = "; ".join(image.problem for image in unreadable[:_SHOWN])
        more = f"; and {len(unreadable) - _SHOWN} more" if len(unreadable) > _SHOWN else ""
        raise SkipweaveError(
            f"{len(unreadable)} {split} image(s) cannot be read, and evaluation leaves none out: {shown}{more}; "
            f"`skipweave check-data` lists all"
        )
