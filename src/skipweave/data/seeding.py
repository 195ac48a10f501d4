"""Seeds and permutations as pure functions of integers: no global state, equal on every machine and version."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


def mix_seed(*values: int) -> int:
    """Hash integers into one seed; the result never changes between versions.

    Each value is absorbed by one round of SplitMix64 (Steele, Lea and Flood, 2014), so that neighboring
    inputs, such as two epochs or two samples, yield unrelated seeds.

    Args:
        *values: Any integers, taken modulo 2**64; their order and number matter.

    Returns:
        An integer in [0, 2**63), which `torch.Generator.manual_seed` accepts.
    """
    state = 0
    for value in values:
        state = _absorb(state, value & _MASK)
    return state >> 1


def permutation(size: int, *seed: int) -> NDArray[np.int64]:
    """Permute range(size): the indices sorted by their hash under the seed.

    Args:
        size: Number of indices.
        *seed: Integers that determine the order, as for `mix_seed`.

    Returns:
        A permutation of [0, size).
    """
    hashes = _absorb(mix_seed(*seed), np.arange(size, dtype=np.uint64))
    return np.argsort(hashes, kind="stable")


def draw(samples: NDArray[np.int64], below: int, *seed: int) -> NDArray[np.int64]:
    """Draw a random integer per sample, by hashing its index under the seed.

    Args:
        samples: Indices of samples.
        below: Integers are uniform in [0, below).
        *seed: Integers that determine the values, as for `mix_seed`.
    """
    hashes = _absorb(mix_seed(*seed), samples.astype(np.uint64))
    return (hashes % np.uint64(below)).astype(np.int64)


def _absorb(state: int, value: Any) -> Any:
    """One round of SplitMix64 on integers or, element by element, on an array of 64-bit integers."""
    mixed = ((value ^ state) + _GAMMA) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)
