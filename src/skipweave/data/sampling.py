"""Order of the samples of an epoch, as a pure function of (seed, epoch): shuffled, or balanced by class."""

import numpy as np

from skipweave.data.seeding import permutation
from skipweave.data.splits import Indices, Labels


def epoch_order(size: int, seed: int, epoch: int, balance: Labels | None = None) -> Indices:
    """Return the samples of an epoch in their order.

    Args:
        size: Number of samples.
        seed: Seed of the run.
        epoch: Epoch.
        balance: Class index of each sample, (size,), to draw every class equally often: samples of small classes are
            repeated, and of large ones each epoch draws others. None draws every sample once.

    Returns:
        (size,): a sample's index, plus size times the number of its earlier repetitions, so that each repetition has a
        number of its own. Modulo size it is the index.
    """
    order = permutation(size, seed, epoch)
    return order if balance is None else _balanced(balance, seed, epoch)[order]


def _balanced(labels: Labels, seed: int, epoch: int) -> Indices:
    """Draw every class equally often, up to one sample; classes in order."""
    classes, size = np.unique(labels), len(labels)
    quotas = np.full(len(classes), size // len(classes))
    quotas[permutation(len(classes), seed, epoch)[: size % len(classes)]] += 1
    draws = []
    for label, quota in zip(classes.tolist(), quotas.tolist(), strict=True):
        members = np.flatnonzero(labels == label)
        rounds, rest = divmod(quota, len(members))
        draws.append((members + size * np.arange(rounds)[:, None]).ravel())
        draws.append(members[permutation(len(members), seed, epoch, label)[:rest]] + size * rounds)
    return np.concatenate(draws)
