"""Division of a dataset into training, validation and test split, where it does not define them."""

from dataclasses import replace

import numpy as np

from skipweave.data.group_splits import grouped_parts
from skipweave.data.image_datasets import DatasetSplits, ImageDataset
from skipweave.data.splits import Indices, class_counts, stratified_folds, stratified_split
from skipweave_config.data_config import DataConfig
from skipweave_config.errors import SkipweaveError


def complete(splits: DatasetSplits, config: DataConfig) -> DatasetSplits:
    """Complete the splits of a dataset: hold out a test split of one that has no splits, or a fold, and validation.

    Splits depend only on labels, groups and `config.split_seed`. They are stratified; images of one group are in one
    split.

    Raises:
        SkipweaveError: There are too few images or groups, or there are validation and test splits already and a fold
            is requested.
    """
    if config.folds:
        splits = _hold_out_fold(splits, config)
    elif not splits.divided and config.test:
        splits = _hold_out(splits, "test", config.test, config)
    if splits.val is None and config.validation:
        splits = _hold_out(splits, "val", config.validation, config)
    return splits


def _hold_out_fold(splits: DatasetSplits, config: DataConfig) -> DatasetSplits:
    """Make one fold of the training images the test split, or else the validation split."""
    folds, train = config.folds or 1, splits.train
    if splits.val and splits.test:
        raise SkipweaveError(
            f"data.folds is {folds}, but {config.name} has validation and test images of its own: leave folds out"
        )
    if train.groups is None and train.labels.ndim == 1:
        fold = stratified_folds(train.labels, folds, config.split_seed)
    else:
        fold = grouped_parts(train.labels, _groups(train), [1] * folds, config.split_seed)
    if empty := [number + 1 for number in range(folds) if number not in fold]:
        raise SkipweaveError(
            f"data.folds is {folds}, of which {len(empty)} would be empty: there are {len(train)} images"
            + (f" in {_described_groups(train, config)}" if train.groups is not None else "")
        )
    held = fold == (config.fold or 1) - 1
    return _with_held_out(splits, "val" if splits.test else "test", np.flatnonzero(~held), np.flatnonzero(held))


def _hold_out(splits: DatasetSplits, name: str, held_out: int | float, config: DataConfig) -> DatasetSplits:
    """Move a count or a fraction of the training images to a missing split.

    Raises:
        SkipweaveError: There are too few images, or none is held out because of the groups.
    """
    train, seed = splits.train, config.split_seed
    purpose, field = {"val": ("validation", "data.validation"), "test": ("testing", "data.test")}[name]
    if train.groups is None and train.labels.ndim == 1:
        return _with_held_out(splits, name, *stratified_split(train.labels, held_out, seed, purpose))
    count = round(held_out * len(train)) if isinstance(held_out, float) else held_out
    if not count < len(train):
        raise SkipweaveError(f"cannot take {held_out} of {len(train)} images for {purpose}")
    held = grouped_parts(train.labels, _groups(train), [len(train) - count, count], seed) == 1
    if count and not held.any():
        raise SkipweaveError(
            f"cannot take {count} of {len(train)} images for {purpose}: all are in "
            f"{_described_groups(train, config)}, which stay together: expected more groups, or {field} 0"
        )
    return _with_held_out(splits, name, np.flatnonzero(~held), np.flatnonzero(held))


def _with_held_out(splits: DatasetSplits, name: str, kept: Indices, held: Indices) -> DatasetSplits:
    """Return the splits with the images at some indices moved from training to a missing split.

    Raises:
        SkipweaveError: All images of a class would be held out.
    """
    train = splits.train.subset(kept)
    before, after = (class_counts(images.labels, len(splits.classes)) for images in (splits.train, train))
    if lost := [splits.classes[label] for label in np.flatnonzero((before > 0) & (after == 0))]:
        raise SkipweaveError(
            f"no training image of {', '.join(lost)} would be left beside the {len(held)} held out as {name} split: "
            f"expected images of each class in more groups or folds"
        )
    part = splits.train.subset(held) if len(held) else None
    return replace(splits, train=train, val=part) if name == "val" else replace(splits, train=train, test=part)


def _described_groups(images: ImageDataset, config: DataConfig) -> str:
    """The number of groups, and the column that has them."""
    number = len(np.unique(_groups(images)))
    return f"{number} group{'s' if number > 1 else ''} (column {config.group_column or 'group'})"


def _groups(images: ImageDataset) -> Indices:
    """Group of each image; images without groups are one group each."""
    if images.groups is None:
        return np.arange(len(images))
    groups: Indices = np.unique(images.groups, return_inverse=True)[1]
    return groups
