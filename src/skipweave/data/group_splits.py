"""Stratified splits of a dataset whose images come in groups that stay together, or have several labels."""

from collections.abc import Sequence

import numpy as np

from skipweave.data.seeding import permutation
from skipweave.data.splits import Indices, Labels

_SCALE = 1 << 64  # of the integer weights of the classes


def grouped_parts(labels: Labels, groups: Indices, shares: Sequence[int], seed: int) -> Indices:
    """Divide a dataset into parts so that each group is in one part and classes are as proportional as groups allow.

    Groups are assigned one by one: the largest first, of one size those with the rarest class first, and otherwise in
    an order given by the seed. Of the parts that lack at least as many images as a group has, it goes to the one that
    lacks most of its classes, so that the squares of (lacking images / images of the class) have the smallest sum, and
    rare classes are distributed as well as frequent ones. If no part lacks so many, it goes to the one that lacks most.
    So the size of a part differs from what is asked by less than the size of the largest group.

    All numbers are integers, so that the result does not depend on rounding.

    Args:
        labels: Class indices (N,), or 0 and 1 (N, classes).
        groups: Group of each image, (N,), in [0, number of groups).
        shares: Size of each part, in proportion to the others.
        seed: Seed of the order.

    Returns:
        The part of each image, (N,), counted from 0.
    """
    counts, sizes = _group_counts(labels, groups), np.bincount(groups)
    total, whole = counts.sum(0), sum(shares)
    parts = np.array(shares, dtype=object)  # integers of any size
    lack, lack_of_images = np.outer(parts, total), parts * len(labels)  # in units of 1 / whole images
    weights = _SCALE // np.maximum(total, 1).astype(object) ** 2
    rarest = np.where(counts > 0, total, len(labels)).min(1, initial=len(labels))  # size of a group's rarest class
    part = np.empty(len(sizes), dtype=np.int64)
    for group in np.lexsort((permutation(len(sizes), seed), rarest, -sizes)):
        classes = np.flatnonzero(counts[group])
        wanted = lack[:, classes] @ (weights[classes] * counts[group, classes])
        size = whole * int(sizes[group])
        if roomy := np.flatnonzero(lack_of_images >= size).tolist():
            chosen = max(roomy, key=lambda index: (wanted[index], lack_of_images[index]))
        else:
            chosen = max(range(len(shares)), key=lambda index: (lack_of_images[index], wanted[index]))
        part[group] = chosen
        lack[chosen, classes] -= whole * counts[group, classes]
        lack_of_images[chosen] -= size
    return part[groups]


def _group_counts(labels: Labels, groups: Indices) -> Indices:
    """Count the images of each class in each group, (groups, classes)."""
    several = labels.ndim > 1
    classes = labels.shape[1] if several else int(labels.max(initial=-1)) + 1
    counts = np.zeros((int(groups.max(initial=-1)) + 1, classes), dtype=np.int64)
    np.add.at(counts, groups if several else (groups, labels), labels if several else 1)
    return counts
