"""Channel patterns: which input channels each output channel of a sparse convolution reads. Plain data, no torch.

"The Power of Sparsity in Convolutional Neural Networks" (Changpinyo, Sandler, Zhmoginov 2017) reads few channels, drawn
at random once, with the whole kernel of each. A pattern is drawn rank by rank: of two patterns of one seed, the one of
the larger fan-in holds the other (`grouped`: where the number of groups divides the other's). So links can be added
while a network trains, and none is ever taken away.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from skipweave.errors import SkipweaveError

Choice = Literal["balanced", "uniform"]
PatternName = Literal["exact", "block", "grouped"]


@dataclass(frozen=True, eq=False)
class ChannelPattern:
    """For each output channel, the input channels that it reads.

    Args:
        in_channels: Channels to read from.
        out_channels: Channels that read.
        sources: (rows, fan_in) int32, each row ascending. Row r is what the outputs r * block to (r + 1) * block - 1
            read, where block = out_channels / rows; one row an output if no two outputs share.

    Raises:
        SkipweaveError: The rows do not divide the outputs, or a row is not an ascending choice of input channels.
    """

    in_channels: int
    out_channels: int
    sources: NDArray[np.int32]

    def __post_init__(self) -> None:
        sources = np.ascontiguousarray(self.sources, dtype=np.int32)
        object.__setattr__(self, "sources", sources)
        if sources.ndim != 2 or not sources.size or self.out_channels % sources.shape[0]:
            raise SkipweaveError(
                f"sources of shape {sources.shape} for {self.out_channels} output channels: "
                "expected (rows, fan_in) with a number of rows that divides them"
            )
        if sources.min() < 0 or sources.max() >= self.in_channels or (np.diff(sources, axis=1) <= 0).any():
            raise SkipweaveError(
                f"sources: expected rows of ascending, different channels from 0 to {self.in_channels - 1}"
            )

    @property
    def fan_in(self) -> int:
        """Input channels that each output reads."""
        return int(self.sources.shape[1])

    @property
    def block(self) -> int:
        """Consecutive outputs that share what they read."""
        return self.out_channels // int(self.sources.shape[0])

    @property
    def links(self) -> int:
        """Pairs of an output and an input that it reads."""
        return self.out_channels * self.fan_in

    @property
    def density(self) -> float:
        """Links, as a share of all pairs."""
        return self.fan_in / self.in_channels

    @property
    def readers(self) -> NDArray[np.int64]:
        """Number of outputs that read each input, (in_channels,)."""
        return np.bincount(self.sources.ravel(), minlength=self.in_channels) * self.block

    def mask(self) -> NDArray[np.bool_]:
        """Whether output o reads input i, (out_channels, in_channels)."""
        rows = _mask(self.sources, self.in_channels)
        return np.repeat(rows, self.block, axis=0)


def fan_in_of(density: float, in_channels: int) -> int:
    """Inputs that an output reads at a density: max(1, ceil(density * in_channels)), whatever floats make of it.

    Raises:
        SkipweaveError: The density is not in (0, 1].

    >>> fan_in_of(0.1, 30), fan_in_of(0.1 + 0.2, 10), fan_in_of(0.01, 64)
    (3, 3, 1)
    """
    if not 0 < density <= 1:
        raise SkipweaveError(f"density is {density!r}: expected a number with 0 < density <= 1")
    return max(1, math.ceil(round(density * in_channels, 9)))


def draw(
    pattern: PatternName,
    in_channels: int,
    out_channels: int,
    fan_in: int,
    *,
    choice: Choice = "balanced",
    block: int | None = None,
    seed: int = 0,
    start: ChannelPattern | None = None,
) -> ChannelPattern:
    """Draw a pattern by its name: `exact`, `block` (both by `choice`, from `start`) or `grouped`.

    Raises:
        SkipweaveError: The name is unknown, or the arguments do not fit the pattern.
    """
    if pattern == "exact" and block in (None, 1):
        return exact(in_channels, out_channels, fan_in, choice=choice, seed=seed, start=start)
    if pattern == "block":
        return shared(in_channels, out_channels, fan_in, block=block, choice=choice, seed=seed, start=start)
    if pattern == "grouped" and block is None and start is None:
        return grouped(in_channels, out_channels, fan_in, seed=seed)
    if pattern in get_args(PatternName):
        raise SkipweaveError(f"pattern {pattern!r} takes no block or start; only 'block' takes a block")
    raise SkipweaveError(f"pattern is {pattern!r}: expected one of {', '.join(get_args(PatternName))}")


def exact(
    in_channels: int,
    out_channels: int,
    fan_in: int,
    *,
    choice: Choice = "balanced",
    seed: int = 0,
    start: ChannelPattern | None = None,
) -> ChannelPattern:
    """Every output reads its own random choice of `fan_in` inputs (the paper, section 3).

    Args:
        in_channels: Channels to read from.
        out_channels: Channels that read.
        fan_in: Channels that each reads.
        choice: "uniform" draws each output's inputs independently, as the paper; "balanced" also keeps the numbers of
            readers of the inputs within one of each other (nearly, once outputs read most inputs), so that far fewer
            filters lose all readers.
        seed: What the pattern is drawn from, 0 or more.
        start: A pattern to be extended: its links are kept, and others added up to `fan_in`.

    Raises:
        SkipweaveError: An argument is out of range.

    >>> exact(8, 4, 2).readers.tolist()
    [1, 1, 1, 1, 1, 1, 1, 1]
    """
    return _shared(in_channels, out_channels, fan_in, out_channels, choice, seed, start)


def shared(
    in_channels: int,
    out_channels: int,
    fan_in: int,
    *,
    block: int | None = None,
    choice: Choice = "balanced",
    seed: int = 0,
    start: ChannelPattern | None = None,
) -> ChannelPattern:
    """Blocks of consecutive outputs share one random choice of inputs.

    Args:
        in_channels: Channels to read from.
        out_channels: Channels that read, a multiple of `block`.
        fan_in: Channels that each reads.
        block: Outputs of a block; None is as many as leave no input unread (about the density times the outputs).
        choice: "balanced" or "uniform", as for `exact`, of blocks in place of outputs.
        seed: What the pattern is drawn from, 0 or more.
        start: A pattern to be extended, of the same blocks.

    Raises:
        SkipweaveError: An argument is out of range, or blocks so large cannot read all inputs.

    >>> shared(8, 8, 2, block=2).sources.shape
    (4, 2)
    """
    _check(in_channels, out_channels, fan_in, seed)
    blocks = [size for size in range(1, out_channels + 1) if out_channels % size == 0]
    fitting = [size for size in blocks if out_channels // size * fan_in >= in_channels] or [1]
    if start is not None and block is None:
        block = start.block
    if block is None:
        block = fitting[-1]
    if block not in fitting:
        raise SkipweaveError(
            f"block is {block!r}: {out_channels} outputs that read {fan_in} of {in_channels} inputs may be in blocks "
            f"of {', '.join(map(str, fitting))}; others do not divide the outputs, or leave inputs that nobody reads"
        )
    return _shared(in_channels, out_channels, fan_in, out_channels // block, choice, seed, start)


def grouped(in_channels: int, out_channels: int, fan_in: int, *, seed: int = 0) -> ChannelPattern:
    """A grouped convolution behind a random permutation of its inputs: groups share their inputs and nothing else.

    Args:
        in_channels: Channels to read from.
        out_channels: Channels that read.
        fan_in: Least channels that each reads: the number of groups is the largest common divisor of inputs and outputs
            for which it is kept.
        seed: What the permutation is drawn from, 0 or more.

    Raises:
        SkipweaveError: An argument is out of range.

    >>> grouped(8, 4, 2).readers.tolist()
    [1, 1, 1, 1, 1, 1, 1, 1]
    """
    _check(in_channels, out_channels, fan_in, seed)
    common = math.gcd(in_channels, out_channels)
    groups = max(n for n in range(1, common + 1) if common % n == 0 and in_channels // n >= fan_in)
    permutation = _order(_words(in_channels, seed)).astype(np.int32)
    return ChannelPattern(in_channels, out_channels, np.sort(permutation.reshape(groups, -1), axis=1))


def _shared(
    in_channels: int,
    out_channels: int,
    fan_in: int,
    rows: int,
    choice: Choice,
    seed: int,
    start: ChannelPattern | None,
) -> ChannelPattern:
    _check(in_channels, out_channels, fan_in, seed)
    if choice not in get_args(Choice):
        raise SkipweaveError(f"choice is {choice!r}: expected one of {', '.join(get_args(Choice))}")
    read = np.zeros((rows, in_channels), dtype=bool)
    if start is not None:
        if (start.in_channels, *start.sources.shape[:1]) != (in_channels, rows) or start.fan_in > fan_in:
            raise SkipweaveError(
                f"start has {len(start.sources)} rows of {start.fan_in} of {start.in_channels} inputs: "
                f"expected {rows} rows of at most {fan_in} of {in_channels}"
            )
        read = _mask(start.sources, in_channels)
    if fan_in == in_channels:
        read[:] = True
    elif choice == "uniform":
        keys = np.where(read, 0, _words(rows * in_channels, seed).reshape(rows, in_channels))
        np.put_along_axis(read, _order(keys)[:, :fan_in], True, axis=1)
    else:
        for rank in range(start.fan_in if start else 0, fan_in):
            read[np.arange(rows), _balanced(read, _words(2 * rows + in_channels, seed, rank))] = True
    return ChannelPattern(in_channels, out_channels, np.nonzero(read)[1].astype(np.int32).reshape(rows, fan_in))


def _balanced(read: NDArray[np.bool_], words: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Choose one more input for every row, such that the inputs' readers stay as equal in number as can be."""
    rows = len(read)
    places, picks, ties = np.split(words, [rows, 2 * rows])
    uses = read.sum(axis=0)
    by_use = np.lexsort((ties, uses))
    offers = np.resize(by_use, rows)[_order(places)]
    for row in np.flatnonzero(read[np.arange(rows), offers]):
        partners = np.flatnonzero(~read[row, offers] & ~read[:, offers[row]])
        if not read[row, offers[row]]:
            continue  # an earlier row has swapped with this one
        if partners.size:
            partner = partners[int(picks[row]) % partners.size]
            offers[[row, partner]] = offers[[partner, row]]
        else:
            offers[row] = by_use[~read[row, by_use]][0]
    return offers


def _words(count: int, *seed: int) -> NDArray[np.uint64]:
    """Random 64-bit words: unlike the distributions made from them, NumPy keeps them the same for ever."""
    words: NDArray[np.uint64] = np.random.PCG64(seed).random_raw(count)
    return words


def _order(keys: NDArray[np.uint64]) -> NDArray[np.intp]:
    return np.argsort(keys, axis=-1, kind="stable")


def _mask(sources: NDArray[np.int32], in_channels: int) -> NDArray[np.bool_]:
    mask = np.zeros((len(sources), in_channels), dtype=bool)
    np.put_along_axis(mask, sources.astype(np.intp), True, axis=1)
    return mask


def _check(in_channels: int, out_channels: int, fan_in: int, seed: int) -> None:
    """Raise where a size is no positive number, the fan-in larger than the input, or the seed negative."""
    least = dict(in_channels=1, out_channels=1, fan_in=1, seed=0)
    given = dict(in_channels=in_channels, out_channels=out_channels, fan_in=fan_in, seed=seed)
    wrong = [
        f"{name} is {value!r}: expected a whole number of at least {least[name]}"
        for name, value in given.items()
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least[name]
    ]
    if not wrong and fan_in > in_channels:
        wrong = [f"fan_in is {fan_in}: expected at most in_channels, {in_channels}"]
    if wrong:
        raise SkipweaveError(*wrong)
