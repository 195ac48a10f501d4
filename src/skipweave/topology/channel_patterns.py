"""Channel patterns: which input channels each output channel of a sparse convolution reads. Plain data, no torch.

In "The Power of Sparsity in Convolutional Neural Networks" (Changpinyo, Sandler, Zhmoginov 2017) each output channel
reads a few input channels, drawn at random once, with the whole kernel of each. Patterns of one seed are nested: the
one with the larger fan-in contains the other (for `grouped`, if its number of groups divides the other's), so that
densification during training only ever adds links.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from skipweave_config.errors import SkipweaveError

Choice = Literal["balanced", "uniform"]
PatternName = Literal["exact", "block", "grouped"]


@dataclass(frozen=True, eq=False)
class ChannelPattern:
    """For each output channel, the input channels that it reads.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        sources: Indices (rows, fan_in), int32, each row ascending. Row r holds the input channels of the outputs
            r * block to (r + 1) * block - 1, where block = out_channels / rows; rows = out_channels if no two outputs
            share a row.

    Raises:
        SkipweaveError: out_channels is not a multiple of the number of rows, or a row is not an ascending selection of
            input channels.
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
                "expected (rows, fan_in), with out_channels a multiple of rows"
            )
        invalid = (sources < 0) | (sources >= self.in_channels) | (np.diff(sources, axis=1, prepend=-1) <= 0)
        for row in sources[invalid.any(axis=1)]:
            raise SkipweaveError(
                f"sources has the row {row.tolist()}: expected ascending, different channels from 0 to "
                f"{self.in_channels - 1}"
            )

    @property
    def fan_in(self) -> int:
        """Input channels that each output reads."""
        return int(self.sources.shape[1])

    @property
    def block(self) -> int:
        """Number of consecutive outputs that share a row of sources."""
        return self.out_channels // int(self.sources.shape[0])

    @property
    def readers(self) -> NDArray[np.int64]:
        """Number of outputs that read each input, of shape (in_channels,)."""
        return np.bincount(self.sources.ravel(), minlength=self.in_channels) * self.block

    def mask(self) -> NDArray[np.bool_]:
        """Boolean matrix (out_channels, in_channels): whether the output reads the input."""
        rows = _mask(self.sources, self.in_channels)
        return np.repeat(rows, self.block, axis=0)


def fan_in_of(density: float, in_channels: int) -> int:
    """Fan-in at a density: max(1, ceil(density * in_channels)), robust to rounding errors of floats.

    Raises:
        SkipweaveError: The density is not in (0, 1].

    >>> fan_in_of(0.1, 30), fan_in_of(0.1 + 0.2, 10), fan_in_of(0.01, 64)
    (3, 3, 1)
    """
    if not 0 < density <= 1:
        raise SkipweaveError(f"density is {density!r}: expected a number with 0 < density <= 1")
    return max(1, math.ceil(round(density * in_channels, 9)))


def check_choice(pattern: str, choice: str) -> None:
    """Check that a pattern can be drawn with this choice of inputs.

    Raises:
        SkipweaveError: It cannot.
    """
    if pattern == "grouped" and choice != "balanced":
        raise SkipweaveError(f"choice is {choice!r} with pattern 'grouped': expected 'balanced', as groups always are")


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
    """Draw a pattern by name: `exact`, `block` (function `shared`) or `grouped`.

    Raises:
        SkipweaveError: The name is unknown, or the arguments are not valid for the pattern.
    """
    if pattern == "exact" and block in (None, 1):
        return exact(in_channels, out_channels, fan_in, choice=choice, seed=seed, start=start)
    if pattern == "block":
        return shared(in_channels, out_channels, fan_in, block=block, choice=choice, seed=seed, start=start)
    check_choice(pattern, choice)
    if pattern == "grouped" and block is None and start is None:
        return grouped(in_channels, out_channels, fan_in, seed=seed)
    if pattern in get_args(PatternName):
        raise SkipweaveError(f"pattern {pattern!r} does not accept block or start; only 'block' accepts block")
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
    """Draw `fan_in` random inputs for every output separately (section 3 of the paper).

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        fan_in: Number of inputs per output.
        choice: "uniform" draws each output's inputs independently, as in the paper. "balanced" (default) also keeps the
            inputs' reader counts within one of each other (approximately, once outputs read most inputs), so that far
            fewer filters are left without readers.
        seed: Seed of the pattern, 0 or more.
        start: Pattern to extend: its links are kept and others added up to `fan_in`.

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
    """Draw `fan_in` random inputs for every block of consecutive outputs.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels, a multiple of `block`.
        fan_in: Number of inputs per output.
        block: Outputs per block. None is the largest number that leaves no input unread (about density * outputs).
        choice: "balanced" or "uniform", as in `exact`, with blocks in place of outputs.
        seed: Seed of the pattern, 0 or more.
        start: Pattern with the same blocks to extend.

    Raises:
        SkipweaveError: An argument is out of range, or blocks of this size leave inputs unread.

    >>> shared(8, 8, 2, block=2).sources.shape
    (4, 2)
    """
    _check(in_channels, out_channels, fan_in, seed)
    fitting = block_sizes(in_channels, out_channels, fan_in)
    if start is not None and block is None:
        block = start.block
    if block is None:
        block = fitting[-1]
    if block not in fitting:
        raise SkipweaveError(
            f"block is {block!r}: with {out_channels} outputs that read {fan_in} of {in_channels} inputs, expected one "
            f"of {', '.join(map(str, fitting))}; other sizes do not divide the outputs or leave inputs unread"
        )
    return _shared(in_channels, out_channels, fan_in, out_channels // block, choice, seed, start)


def block_sizes(in_channels: int, out_channels: int, fan_in: int) -> list[int]:
    """List the numbers of outputs per block that divide the outputs and leave no input unread, ascending.

    >>> block_sizes(64, 64, 16)
    [1, 2, 4, 8, 16]
    """
    sizes = [size for size in range(1, out_channels + 1) if out_channels % size == 0]
    return [size for size in sizes if out_channels // size * fan_in >= in_channels] or [1]


def grouped(in_channels: int, out_channels: int, fan_in: int, *, seed: int = 0) -> ChannelPattern:
    """Draw the pattern of a grouped convolution that follows a random permutation of its inputs.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        fan_in: Minimum number of inputs per output: the number of groups is the largest common divisor of inputs and
            outputs with at least that many inputs per group.
        seed: Seed of the permutation, 0 or more.

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
    """Choose one more input for every row so that the inputs' reader counts stay as equal as possible."""
    rows = len(read)
    places, picks, ties = np.split(words, [rows, 2 * rows])
    uses = read.sum(axis=0)
    by_use = np.lexsort((ties, uses))
    offers = np.resize(by_use, rows)[_order(places)]
    for row in np.flatnonzero(read[np.arange(rows), offers]):
        partners = np.flatnonzero(~read[row, offers] & ~read[:, offers[row]])
        if not read[row, offers[row]]:
            continue  # already resolved by an earlier row's swap
        if partners.size:
            partner = partners[int(picks[row]) % partners.size]
            offers[[row, partner]] = offers[[partner, row]]
        else:
            offers[row] = by_use[~read[row, by_use]][0]
    return offers


def _words(count: int, *seed: int) -> NDArray[np.uint64]:
    """Random 64-bit words. NumPy guarantees this stream across versions, unlike the distributions derived from it."""
    words: NDArray[np.uint64] = np.random.PCG64(seed).random_raw(count)
    return words


def _order(keys: NDArray[np.uint64]) -> NDArray[np.intp]:
    return np.argsort(keys, axis=-1, kind="stable")


def _mask(sources: NDArray[np.int32], in_channels: int) -> NDArray[np.bool_]:
    mask = np.zeros((len(sources), in_channels), dtype=bool)
    np.put_along_axis(mask, sources.astype(np.intp), True, axis=1)
    return mask


def _check(in_channels: int, out_channels: int, fan_in: int, seed: int) -> None:
    """Raise unless sizes are positive integers, fan_in is at most in_channels and the seed is not negative."""
    least = dict(in_channels=1, out_channels=1, fan_in=1, seed=0)
    given = dict(in_channels=in_channels, out_channels=out_channels, fan_in=fan_in, seed=seed)
    wrong = [
        f"{name} is {value!r}: expected an integer of at least {least[name]}"
        for name, value in given.items()
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least[name]
    ]
    if not wrong and fan_in > in_channels:
        wrong = [f"fan_in is {fan_in}: expected at most in_channels, {in_channels}"]
    if wrong:
        raise SkipweaveError(*wrong)
