"""Stratified splits and folds of a labeled dataset, by seed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skipweave.data.seeding import permutation
from skipweave_config.errors import SkipweaveError

Indices = NDArray[np.int64]
Labels = NDArray[np.integer[Any]]
"""Class indices (N,); for several labels per image 0 and 1, (N, classes)."""

Groups = NDArray[Any]
"""Group of each image, (N,): numbers or names."""


def class_counts(labels: Labels, classes: int) -> Indices:
    """Count the images of each class, (classes,)."""
    counts: Indices = labels.sum(0, dtype=np.int64) if labels.ndim > 1 else np.bincount(labels, minlength=classes)
    return counts


def stratified_split(labels: Labels, held_out: int | float, seed: int, purpose: str) -> tuple[Indices, Indices]:
    """Split the indices of a labeled dataset so that both parts have its class proportions.

    The result depends only on the labels and the seed. Each class contributes its exact quota rounded down to the
    held-out part; the missing images come from the classes with the largest remainders. Every class keeps at least one
    image in the rest.

    Args:
        labels: Class index of each image.
        held_out: Number of images to hold out, or a fraction in [0, 1).
        seed: Seed of the split.
        purpose: Purpose of the held-out part, for error messages.

    Returns:
        (rest, held out), each in increasing order.

    Raises:
        SkipweaveError: The classes have too few images.
    """
    size = len(labels)
    count = round(held_out * size) if isinstance(held_out, float) else held_out
    classes, sizes = np.unique(labels, return_counts=True)
    if not 0 <= count <= size - len(classes):
        raise SkipweaveError(
            f"cannot take {count} of {size} images for {purpose}: "
            f"each of the {len(classes)} classes must keep one to train on, so at most {size - len(classes)}"
        )
    order = permutation(size, seed)
    shuffled = labels[order]
    held = [order[shuffled == label][:quota] for label, quota in zip(classes, _quotas(sizes, count), strict=True)]
    chosen = np.zeros(size, dtype=bool)
    chosen[np.concatenate([*held, np.empty(0, dtype=np.int64)])] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def stratified_folds(labels: Labels, folds: int, seed: int) -> Indices:
    """Divide a labeled dataset into folds whose sizes, overall and of each class, differ by at most one.

    Args:
        labels: Class index of each image.
        folds: Number of folds.
        seed: Seed of the division.

    Returns:
        The fold of each image, (N,), counted from 0.
    """
    order = permutation(len(labels), seed)
    by_class = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[by_class] = np.arange(len(labels)) % folds
    return fold


def _quotas(sizes: Indices, count: int) -> Indices:
    """Images to take from each class: proportional, rounded by largest remainder, with one left in every class."""
    exact = count * sizes / sizes.sum()
    quotas = np.minimum(np.floor(exact).astype(np.int64), sizes - 1)
    while (missing := count - quotas.sum()) > 0:
        largest = np.argsort(quotas - exact, kind="stable")
        largest = largest[quotas[largest] < sizes[largest] - 1]
        quotas[largest[:missing]] += 1
    return quotas
