"""How the values of images of more than 8 bits are normalized: as configured, or by what the training images hold."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np

from skipweave.data.image_sets import FileImages
from skipweave.data.images.decoding import read_kind
from skipweave.data.parallel_map import each
from skipweave.data.preprocessing import Preprocessing
from skipweave.data.segmentation.image_mask_pairs import SegmentationImages
from skipweave.data.segmentation.whole_image import WholeImage
from skipweave.errors import SkipweaveError
from skipweave_config.data_config import DataConfig

Transform = TypeVar("Transform", Preprocessing, WholeImage)

# Of an image, or of several: the kinds of numbers; lowest and highest value; pixels; of each channel mean and sum of
# squared deviations.
_Statistics = tuple[frozenset[str], float, float, int, np.ndarray, np.ndarray]


def normalized_for(
    transform: Transform,
    config: DataConfig,
    train: FileImages | SegmentationImages,
    progress: Callable[[int, int], None] | None = None,
) -> Transform:
    """A set's preprocessing with the range, mean and standard deviation of its values.

    Of images of 8 bits they are known. Of deeper ones they are the configured ones, or else those of the training
    images, whatever the number of workers; images that `on_bad: skip` leaves out do not count.

    Args:
        transform: with the values for images of 8 bits.
        config: of the set.
        train: the training images; all are read, unless range, mean and std are configured.
        progress: called with (images read, images in all) after each.

    Raises:
        SkipweaveError: an image cannot be read, all values are equal, or range, mean or std are configured for images
            of 8 bits.
    """
    given = {"range": config.range, "mean": config.mean, "std": config.std}
    if not train.deep:
        if asked := [name for name, value in given.items() if value is not None]:
            raise SkipweaveError(
                f"{', '.join(asked)} cannot be given for {config.name}: its images have 8 bits a channel, from 0 to 255"
            )
        return transform
    missing = None in given.values()
    found = _measured(config, train, progress) if missing else None
    if found is None:
        return replace(transform, range=config.range, mean=config.mean or (), std=config.std or ())
    numbers, low, high, pixels, means, squares = found
    if len(numbers) > 1:
        raise SkipweaveError(
            f"the training images of {config.name} hold {' and '.join(sorted(numbers))}, which have no common scale: "
            f"save all of them as one kind"
        )
    if low == high:
        raise SkipweaveError(f"all values of the training images of {config.name} are {low:g}: nothing can be learned")
    low, high = limits = config.range or (low, high)
    deviations = np.sqrt(squares / pixels) / (high - low)
    return replace(
        transform,
        range=limits,
        mean=config.mean or tuple(((means - low) / (high - low)).tolist()),
        std=config.std or tuple(np.where(deviations > 0, deviations, 1.0).tolist()),
    )


def _measured(
    config: DataConfig, train: FileImages | SegmentationImages, progress: Callable[[int, int], None] | None
) -> _Statistics:
    found: list[_Statistics] = []
    for number, answer in enumerate(each(partial(_statistics, train), len(train), config.workers), start=1):
        if not isinstance(answer, str):
            found = [_together([*found, answer])]
        elif config.on_bad == "raise":
            raise SkipweaveError(f"{answer}; `skipweave check-data` lists all such files")
        if progress:
            progress(number, len(train))
    if not found:
        raise SkipweaveError(f"none of the {len(train)} training images of {config.name} can be read")
    return found[0]


def _statistics(images: FileImages | SegmentationImages, index: int) -> _Statistics | str:
    """Those of an image; or why it cannot be read."""
    try:
        channels = images.image(index).numpy()
    except SkipweaveError as error:
        return str(error)
    means, squares = np.empty((2, len(channels)))
    for place, channel in enumerate(channels):  # by numpy, whose sums do not depend on the number of threads
        values = channel.astype(np.float64)
        means[place] = values.mean()
        squares[place] = ((values - means[place]) ** 2).sum()
    numbers = "floating-point numbers" if read_kind(images.file(index)).floating else "whole numbers"
    return frozenset([numbers]), channels.min().item(), channels.max().item(), channels[0].size, means, squares


def _together(parts: Iterable[_Statistics]) -> _Statistics:
    """Those of several images (Chan, Golub and LeVeque, 1979)."""
    numbers, lows, highs, pixels, means, squares = zip(*parts, strict=True)
    weights = np.array(pixels)[:, None]
    mean = (weights * means).sum(0) / weights.sum()
    between = (weights * (np.array(means) - mean) ** 2).sum(0)
    return frozenset().union(*numbers), min(lows), max(highs), sum(pixels), mean, np.sum(squares, axis=0) + between
