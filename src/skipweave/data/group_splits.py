"""Stratified splits of a dataset whose images come in groups that stay together, or have several labels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skipweave.data.seeding import permutation
from skipweave.data.splits import Indices, Labels


def grouped_parts(labels: Labels, groups: Indices, fractions: Sequence[float], seed: int) -> Indices:
    """Divide a dataset into parts so that each group is in one part and classes are as proportional as groups allow.

    Groups are assigned one by one, the largest first and those of one size in an order given by the seed, to the part
    that lacks most of their images: class c of size n_c counts by 1 / n_c, so that rare classes are distributed as
    well as frequent ones, and all images together count as one more class.

    Args:
        labels: Class indices (N,), or 0 and 1 (N, classes).
        groups: Group of each image, (N,), in [0, number of groups).
        fractions: Fraction of the images in each part, of sum 1.
        seed: Seed of the order.

    Returns:
        The part of each image, (N,), counted from 0.
    """
    counts = _group_counts(labels, groups)
    total = counts.sum(0)
    lack = np.array(fractions)[:, None] * total
    weights = 1 / np.maximum(total, 1)
    shuffled = permutation(len(counts), seed)
    order = shuffled[np.argsort(-counts[shuffled, -1], kind="stable")]
    part = np.empty(len(counts), dtype=np.int64)
    for group in order:
        part[group] = np.argmax(lack @ (weights * counts[group]))
        lack[part[group]] -= counts[group]
    return part[groups]


def _group_counts(labels: Labels, groups: Indices) -> NDArray[np.float64]:
    """Count the images of each class in each group, and last all images: (groups, classes + 1)."""
    several = labels.ndim > 1
    classes = labels.shape[1] if several else int(labels.max(initial=-1)) + 1
    counts = np.zeros((int(groups.max(initial=-1)) + 1, classes + 1))
    if several:
        np.add.at(counts[:, :-1], groups, labels)
    else:
        np.add.at(counts, (groups, labels), 1)
    counts[:, -1] = np.bincount(groups, minlength=len(counts))
    return counts
