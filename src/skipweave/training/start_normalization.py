"""Normalization of the images by the mean and std that starting weights were trained with."""

from dataclasses import dataclass, replace

from skipweave.data import renormalize
from skipweave.models import pretrained_statistics
from skipweave.training.starting_weights import describe_start
from skipweave.training.tasks.task import Data
from skipweave_config.data_config import DataConfig
from skipweave_config.fit_config import FitConfig


@dataclass(frozen=True)
class Statistics:
    """Mean and std per channel, on the scale [0, 1], of 8-bit images.

    Attributes:
        mean: Mean per channel.
        std: Standard deviation per channel.
        source: Weights that were trained with them.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str


def normalize_for_start(config: FitConfig, data: Data) -> tuple[DataConfig, Data, str]:
    """Normalize the images of a new run as its starting weights expect, unless `data.mean` and `data.std` are set.

    Images of more than 8 bits, and those of another number of channels, keep the statistics of the data.

    Args:
        config: The config, with `start`, `model.pretrained` or neither.
        data: As loaded.

    Returns:
        The data's config with mean and std, so that loading it again is the same; the data; and a line about the
        change, empty if there is none.

    Raises:
        SkipweaveError: The weights of `start` cannot be downloaded or loaded.
    """
    own, given = data.preprocessing, config.data
    expected = expected_statistics(config)
    if expected is None or own.range is not None or len(expected.mean) != own.channels:
        return given, data, ""
    changed = replace(given, mean=given.mean or expected.mean, std=given.std or expected.std)
    if changed == given:
        return given, data, ""
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (changed.mean, changed.std))  # type: ignore[union-attr]
    set_names = [f"data.{name}" for name in ("mean", "std") if getattr(given, name)]
    note = f"images normalized as for {expected.source}: mean {mean}, std {std}"
    return changed, renormalize(changed, data), note + "".join(f"; {name} as set" for name in set_names)


def expected_statistics(config: FitConfig) -> Statistics | None:
    """The statistics that starting weights were trained with; None for random weights, and if they are not known.

    Of weights of this library they are stored with them; others are those of the model's `pretrained_cfg`, as in timm.
    """
    if not config.start and not config.model.pretrained:
        return None
    if config.start and (theirs := describe_start(config.start)):
        images = theirs.preprocessing
        return None if images.range else Statistics(images.mean, images.std, str(config.start))
    source = str(config.start) if config.start else f"pretrained weights of {config.model.name}"
    known = pretrained_statistics(config.model.name)
    return Statistics(*known, source) if known else None
