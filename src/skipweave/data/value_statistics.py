"""Normalization of images of more than 8 bits: from the config, or from statistics of the training images."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import numpy as np

from skipweave.data.image_datasets import FileDataset
from skipweave.data.images.decoding import dicom_window, read_pixel_type
from skipweave.data.parallel_map import parallel_map
from skipweave.data.preprocessing import Preprocessing, Range
from skipweave.data.segmentation.image_mask_pairs import SegmentationDataset
from skipweave_config.data_config import DataConfig
from skipweave_config.errors import SkipweaveError

# Number types, lowest and highest value, pixel count; per channel the mean and the sum of squared deviations.
_Statistics = tuple[frozenset[str], float, float, int, np.ndarray, np.ndarray]


def fit_normalization(
    preprocessing: Preprocessing,
    config: DataConfig,
    train: FileDataset | SegmentationDataset,
    progress: Callable[[int, int], None] | None = None,
) -> Preprocessing:
    """Set range, mean and std of a preprocessing.

    8-bit images keep the values of `preprocessing`. For a higher bit depth the values come from the config, or else
    from the training images, independently of the number of workers; images skipped by `on_bad: skip` are ignored.

    Args:
        preprocessing: Preprocessing of 8-bit images.
        config: Config of the dataset.
        train: Training images; all are read, unless range, mean and std are configured.
        progress: Called with (images read, total images) after each image.

    Raises:
        SkipweaveError: An image cannot be read, all values are equal, a range or window is configured for 8-bit images,
            or mean or std for other channels.
    """
    given = {"range": config.range, "window": config.window, "mean": config.mean, "std": config.std}
    if not train.high_bit_depth:
        if asked := [name for name in ("range", "window") if given[name] is not None]:
            raise SkipweaveError(
                f"{asked[0]} cannot be set for {config.name}: its images have 8 bits per channel, from 0 to 255"
            )
        return preprocessing
    channels = preprocessing.channels
    if wrong := [name for name in ("mean", "std") if len(given[name] or (0,) * channels) != channels]:
        raise SkipweaveError(
            f"data.{' and data.'.join(wrong)} should have {channels} numbers, as many as {config.name} has channels"
        )
    wanted, clip = _limits(config, train), config.window is not None
    if wanted and config.mean and config.std:
        return replace(preprocessing, range=wanted, clip=clip, mean=config.mean, std=config.std)
    found = _measured(config, train, progress)
    numbers, low, high, pixels, means, squares = found
    if len(numbers) > 1:
        raise SkipweaveError(
            f"the training images of {config.name} hold {' and '.join(sorted(numbers))}, which have no common scale: "
            f"expected one of them"
        )
    if low == high:
        raise SkipweaveError(
            f"all values of the training images of {config.name} are {low:g}: expected different values"
        )
    low, high = limits = wanted or (low, high)
    deviations = np.sqrt(squares / pixels) / (high - low)
    return replace(
        preprocessing,
        range=limits,
        clip=clip,
        mean=config.mean or tuple(((means - low) / (high - low)).tolist()),
        std=config.std or tuple(np.where(deviations > 0, deviations, 1.0).tolist()),
    )


def _limits(config: DataConfig, train: FileDataset | SegmentationDataset) -> Range | None:
    """Return the range of a config, also as a window or that of the first training image; None if it has none.

    Raises:
        SkipweaveError: The window is that of the files, which have none.
    """
    if config.window is None:
        return config.range
    if config.window == "file":
        found = next(filter(None, (dicom_window(train.file(index)) for index in range(len(train)))), None)
        if found is None:
            raise SkipweaveError(f"data.window is file, but no training image of {config.name} has a DICOM window")
        center, width = found
    else:
        center, width = config.window
    return center - width / 2, center + width / 2


def _measured(
    config: DataConfig, train: FileDataset | SegmentationDataset, progress: Callable[[int, int], None] | None
) -> _Statistics:
    found: list[_Statistics] = []
    for number, result in enumerate(parallel_map(partial(_statistics, train), len(train), config.workers), start=1):
        if not isinstance(result, str):
            found = [_combine([*found, result])]
        elif config.on_bad == "raise":
            raise SkipweaveError(f"{result}; `skipweave check-data` lists all such files")
        if progress:
            progress(number, len(train))
    if not found:
        raise SkipweaveError(f"none of the {len(train)} training images of {config.name} can be read")
    return found[0]


def _statistics(images: FileDataset | SegmentationDataset, index: int) -> _Statistics | str:
    """Statistics of an image, or why it cannot be read."""
    try:
        channels = images.image(index).numpy()
    except SkipweaveError as error:
        return str(error)
    means, squares = np.empty((2, len(channels)))
    for place, channel in enumerate(channels):  # numpy's sums do not depend on the number of threads
        values = channel.astype(np.float64)
        means[place] = values.mean()
        squares[place] = ((values - means[place]) ** 2).sum()
    numbers = "floating-point numbers" if read_pixel_type(images.file(index)).floating else "whole numbers"
    return frozenset([numbers]), channels.min().item(), channels.max().item(), channels[0].size, means, squares


def _combine(parts: Iterable[_Statistics]) -> _Statistics:
    """Combine statistics of several images (Chan, Golub and LeVeque, 1979)."""
    numbers, lows, highs, pixels, means, squares = zip(*parts, strict=True)
    weights = np.array(pixels)[:, None]
    mean = (weights * means).sum(0) / weights.sum()
    between = (weights * (np.array(means) - mean) ** 2).sum(0)
    return frozenset().union(*numbers), min(lows), max(highs), sum(pixels), mean, np.sum(squares, axis=0) + between
