"""The published topology patterns, each a pure function of the number of units, and their registry."""

import ast
import difflib
import inspect
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Literal, Protocol, TypeVar, cast, get_args

from skipweave.topology.graph import Topology
from skipweave_config.errors import SkipweaveError
from skipweave_config.integers import is_integer

Budget = Literal["log", "constant", "equal"]
HalvingRule = Literal["code", "paper"]
TopologySpec = str | Topology | Sequence[Sequence[int]]


class Pattern(Protocol):
    """A function from a number of units (and options) to a `Topology`."""

    __name__: str

    def __call__(self, n: int, /, **options: object) -> Topology:
        """Return the topology of `n` units."""


F = TypeVar("F", bound=Callable[..., Topology])
_PATTERNS: dict[str, Pattern] = {}


def register(pattern: F) -> F:
    """Register a pattern under its function's name, which is then accepted wherever a topology is expected.

    Raises:
        SkipweaveError: The name is registered already.

    Example::

        @topology.register
        def first_and_last(n: int) -> Topology:
            return Topology.from_lists([{0, i - 1} for i in range(1, n + 2)], name="first_and_last")

        assert topology.make("first_and_last", 3).sources(3) == (2, 0)
    """
    name = pattern.__name__
    if name in _PATTERNS:
        raise SkipweaveError(f"a topology pattern named {name!r} is registered already; choose another name")
    _PATTERNS[name] = cast(Pattern, pattern)
    return pattern


def names() -> tuple[str, ...]:
    """Names of all registered patterns, sorted."""
    return tuple(sorted(_PATTERNS))


def make(spec: TopologySpec, n: int) -> Topology:
    """Create a `Topology` of `n` units from a user's specification.

    Args:
        spec: A pattern's name, optionally with arguments (`"exponential"`, `"window(size=4)"`), a `Topology` of n
            units, or n + 1 lists of sources (the last one for the stage's reader).
        n: Number of units.

    Raises:
        SkipweaveError: The name or an argument is invalid, or the number of units differs from `n`.

    >>> make("exponential(base=3)", 9).sources(9)
    (8, 6, 0)
    """
    _at_least(n, 0, "number of units")
    if isinstance(spec, str):
        return _from_text(spec, n)
    topology = spec if isinstance(spec, Topology) else Topology.from_lists(spec)
    if topology.units != n:
        raise SkipweaveError(
            f"topology {topology.name!r} has {topology.units} units, but the stage has {n}; "
            f"give {n} lists of sources and one more for the stage's reader"
        )
    return topology


def _from_text(text: str, n: int) -> Topology:
    name, options = _parse(text)
    if name not in _PATTERNS:
        near = difflib.get_close_matches(name, _PATTERNS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise SkipweaveError(f"unknown topology {name!r}: {hint}known patterns are {', '.join(names())}")
    pattern = _PATTERNS[name]
    try:
        inspect.signature(pattern).bind(n, **options)
    except TypeError as error:
        known = [p for p in inspect.signature(pattern).parameters if p != "n"]
        raise SkipweaveError(f"topology {text!r}: {error}; {name} takes {', '.join(known) or 'no arguments'}") from None
    return pattern(n, **options)


def _parse(text: str) -> tuple[str, dict[str, object]]:
    """Split `"window(size=4)"` into name and arguments; only literals are evaluated."""
    problem = "expected a name such as 'exponential' or 'window(size=4)'"
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        if isinstance(tree, ast.Name):
            return tree.id, {}
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.args:
            times = Counter(str(option.arg) for option in tree.keywords)
            if len(times) == len(tree.keywords):
                return tree.func.id, {str(option.arg): ast.literal_eval(option.value) for option in tree.keywords}
            problem = f"{times.most_common(1)[0][0]} is given more than once: expected each argument once"
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):  # those that `literal_eval` documents
        pass
    raise SkipweaveError(f"topology {text!r}: {problem}")


def _by_rule(name: str, n: int, sources: Callable[[int], Iterable[int]]) -> Topology:
    """Apply one rule to the nodes 1..n and to the virtual node n + 1."""
    _at_least(n, 0, "number of units")
    return Topology.from_lists([tuple(sources(i)) for i in range(1, n + 2)], name)


def _log2(i: int) -> int:
    """floor(log2(i)) without rounding errors."""
    return int(i).bit_length() - 1


def _at_least(value: int, least: int, what: str) -> None:
    if not is_integer(value, least):
        raise SkipweaveError(f"{what} is {value!r}: expected an integer of at least {least}")


@register
def dense(n: int) -> Topology:
    """All earlier nodes (DenseNet; with summation, a pre-activation ResNet).

    >>> dense(3).sources(3)
    (2, 1, 0)
    """
    return _by_rule("dense", n, range)


@register
def plain(n: int) -> Topology:
    """The previous node only.

    >>> plain(3).sources(3)
    (2,)
    """
    return _by_rule("plain", n, lambda i: (i - 1,))


@register
def exponential(n: int, base: int = 2) -> Topology:
    """Nodes i - base^k for k = 0..floor(log_base i) (SparseNet, and with base 2 Log-DenseNet V1).

    >>> exponential(12).sources(12)
    (11, 10, 8, 4)
    """
    _at_least(base, 2, "base of the exponential topology")

    def sources(i: int) -> Iterable[int]:
        offset = 1
        while offset <= i:
            yield i - offset
            offset *= base

    return _by_rule("exponential" if base == 2 else f"exponential(base={base})", n, sources)


@register
def nearest(n: int, budget: Budget = "log") -> Topology:
    """The nearest nodes, as many as `exponential` reads (Log-DenseNet, pattern N).

    Args:
        n: Number of units.
        budget: `"log"`: 1 + floor(log2 i) nodes (the budget that the paper states; its formula gives one fewer);
            `"constant"`: 1 + floor(log2(n + 1)) nodes for every i (the released code); `"equal"`: the same as `"log"`.

    >>> nearest(8).sources(8)
    (7, 6, 5, 4)
    """
    budget_of = _budget(budget, n)
    return _by_rule(_label("nearest", "budget", budget, "log"), n, lambda i: range(max(0, i - budget_of(i)), i))


@register
def evenly_spaced(n: int, budget: Budget = "log") -> Topology:
    """Nodes evenly spaced over all earlier ones (Log-DenseNet, pattern E).

    Args:
        n: Number of units.
        budget: `"log"`: steps of i / log2 i, rounded half up (the paper); `"constant"`: 1 + floor(log2(n + 1)) nodes in
            steps of i divided by that number, rounded down (the released code); `"equal"`: the same with
            1 + floor(log2 i) nodes, as many as `exponential` reads: the number that the paper states but its steps do
            not reach.

    >>> evenly_spaced(12).sources(11)
    (10, 7, 4, 0)
    >>> evenly_spaced(12, budget="equal").sources(9)
    (8, 6, 4, 2)
    """
    budget_of = _budget(budget, n)

    def sources(i: int) -> set[int]:
        if budget != "log":
            count = budget_of(i)
            return {i - 1 - k * i // count for k in range(count)}
        step = i / math.log2(i) if i > 1 else float(i)
        return {math.floor(i - 1 - k * step + 0.5) for k in range(i) if k * step <= i - 1}

    return _by_rule(_label("evenly_spaced", "budget", budget, "log"), n, sources)


def _budget(budget: Budget, n: int) -> Callable[[int], int]:
    if budget not in get_args(Budget):
        raise SkipweaveError(
            f"budget is {budget!r}: expected 'log' (the paper), 'constant' (the released code) or 'equal' (as many "
            "nodes as exponential reads)"
        )
    return (lambda i: 1 + _log2(n + 1)) if budget == "constant" else (lambda i: 1 + _log2(i))


def _label(name: str, option: str, value: str, default: str) -> str:
    return name if value == default else f"{name}({option}={value!r})"


@register
def nearest_half(n: int) -> Topology:
    """The nearest half, ceil(i / 2) nodes (Log-DenseNet, pattern N of its Table 2).

    >>> nearest_half(7).sources(7)
    (6, 5, 4, 3)
    """
    return _by_rule("nearest_half", n, lambda i: range(i - (i + 1) // 2, i))


@register
def every_other(n: int) -> Topology:
    """Nodes i - 1, i - 3, i - 5, ... (Log-DenseNet, pattern E of its Table 2).

    >>> every_other(5).sources(5)
    (4, 2, 0)
    """
    return _by_rule("every_other", n, lambda i: range(i - 1, -1, -2))


@register
def nearest_half_and_log(n: int, rule: HalvingRule = "code") -> Topology:
    """The nearest half and a few nodes below it, in halving steps (Log-DenseNet, NearestHalfAndLog, N+LD).

    Args:
        n: Number of units.
        rule: `"code"`: from the oldest node p of the nearest half on repeatedly (p - 1) / 2, rounded down, to node 0
            (the released code); `"paper"`: i / 4, i / 8, ... to 1, rounded down (the formula of the paper; rounded to
            the nearest, as its brackets mean elsewhere, the longest distance would be 3, not the 2 that it states).

    The code's rule is the default: its operation counts are those of the paper's Table 2 within 0.7 %, those of the
    formula are 3 to 8 % lower. The two differ at every unit but the first; the longest distance is 2 with both.

    >>> nearest_half_and_log(30).sources(24)[-4:]
    (12, 5, 2, 0)
    >>> nearest_half_and_log(30, rule="paper").sources(24)[-4:]
    (12, 6, 3, 1)
    """
    if rule not in get_args(HalvingRule):
        raise SkipweaveError(f"rule is {rule!r}: expected 'code' (the released code) or 'paper' (the paper's formula)")

    def sources(i: int) -> Iterable[int]:
        position = i - (i + 1) // 2
        yield from range(position, i)
        if rule == "paper":
            yield from (i >> power for power in range(2, i.bit_length()))
            return
        while position > 0:
            position = (position - 1) // 2
            yield position

    return _by_rule(_label("nearest_half_and_log", "rule", rule, "code"), n, sources)


@register
def window(n: int, size: int = 4) -> Topology:
    """The newest `size` nodes, or all if there are fewer.

    >>> window(6, size=2).sources(6)
    (5, 4)
    """
    _at_least(size, 1, "size of the window topology")
    return _by_rule(f"window(size={size})", n, lambda i: range(max(0, i - size), i))


@register
def harmonic(n: int) -> Topology:
    """Nodes i - 2^k for every 2^k that divides i (HarDNet, Chao et al. 2019).

    Deviation: the stage's reader reads the sources of node n + 1; in HarDNet, and in the models `hardnet68` and
    `hardnet85`, it reads the last node and all odd ones.

    >>> harmonic(12).sources(12)
    (11, 10, 8)
    """
    return _by_rule("harmonic", n, lambda i: (i - 2**k for k in range(_log2(i) + 1) if i % 2**k == 0))


@register
def fractal(n: int) -> Topology:
    """Parallel columns of units, which join where they end together (FractalNet; SparseNet, Figure 1d).

    Positions 1, 2, 3, ... are the units of the deepest column. Column c has one unit for every 2^c positions: it ends
    at position p if 2^c divides p, and reads the units of all columns that end at position p - 2^c. Units are counted
    by the position at which they end, those of the deepest column first, so that 2^C - 1 units are C whole columns, of
    2^(C-1), ..., 2 and 1 units. With other numbers, the last units are missing. The stage's reader reads the units that
    end at the last position. In FractalNet, what is read together is averaged: `aggregation="mean"` in the families
    that take it.

    Units of different columns have no path between them, so the maximum back-propagation distance is infinite.

    >>> fractal(7).reads
    ((0,), (1,), (0,), (3, 2), (4,), (3, 2), (0,), (7, 6, 5))
    """
    _at_least(n, 0, "number of units")
    ends: dict[int, list[int]] = {0: [0]}
    reads: list[tuple[int, ...]] = []
    position = 0
    while len(reads) < n:
        position += 1
        columns = [2**c for c in range(_log2(position) + 1) if position % 2**c == 0][: n - len(reads)]
        ends[position] = [len(reads) + 1 + c for c in range(len(columns))]
        reads += [tuple(ends[position - length]) for length in columns]
    return Topology.from_lists([*reads, ends[position]], name="fractal")


@register
def loglog(n: int, min_inputs: int = 1, hubs: Sequence[int] = ()) -> Topology:
    """LogLog-DenseNet's recursive pattern (Log-DenseNet, section 3.3).

    Hubs read all earlier hubs, nodes between two hubs read the lower one, and the same rule applies recursively within
    each interval. There are O(n log log n) links; back-propagation distances are O(log log n).

    Args:
        n: Number of units.
        min_inputs: Nodes with fewer sources also read i - 1, i - 2, i - 4, ... until they have this many.
        hubs: Additional hubs (the released code adds the last node of every stage).

    >>> loglog(16).sources(12)
    (11, 10, 8, 4, 0)
    >>> loglog(16, min_inputs=4).sources(11)
    (10, 9, 8, 7)
    """
    _at_least(n, 0, "number of units")
    _at_least(min_inputs, 1, "min_inputs of the loglog topology")
    reads: list[set[int]] = [set(), *({i - 1} for i in range(1, n + 1))]
    intervals = [(0, n, loglog_hubs(n, hubs))]
    while intervals:
        first, last, marks = intervals.pop()
        if last - first <= 1:
            continue
        for low, high in itertools.pairwise(marks):
            reads[high].update(mark for mark in marks if mark < high)
            for node in range(low + 1, high + 1):
                reads[node].add(low)
            intervals.append((low, high, _marks(low, high)))
    for node in range(1, n + 1):
        offset = 1
        while len(reads[node]) < min_inputs and offset <= node:
            reads[node].add(node - offset)
            offset *= 2
    # The stage's reader reads the last node and its sources, as heads do (Log-DenseNet, section 3.1).
    return Topology.from_lists([*reads[1:], {n} | reads[n]], _loglog_name(min_inputs, hubs))


def _loglog_name(min_inputs: int, hubs: Sequence[int]) -> str:
    """The name that rebuilds the topology, whose arguments are those that are not the default."""
    options = [f"min_inputs={min_inputs}"] if min_inputs > 1 else []
    if hubs:
        options.append(f"hubs={sorted({int(hub) for hub in hubs})}")
    return f"loglog({', '.join(options)})" if options else "loglog"


def loglog_hubs(n: int, extra: Sequence[int] = ()) -> tuple[int, ...]:
    """Hubs of `loglog` in ascending order: node 0, the nodes n - k floor(sqrt(n + 1)), and `extra`.

    Raises:
        SkipweaveError: An extra hub is not in 0..n, or `extra` is not a sequence or set.

    >>> loglog_hubs(16)
    (0, 4, 8, 12, 16)
    """
    _at_least(n, 0, "number of units")
    if not isinstance(extra, Sequence | Set) or isinstance(extra, str | bytes):
        raise SkipweaveError(f"hubs of the loglog topology are {extra!r}: expected a list of nodes from 0 to {n}")
    if invalid := [hub for hub in extra if not (is_integer(hub, 0) and hub <= n)]:
        raise SkipweaveError(f"hubs of the loglog topology include {invalid}: expected nodes from 0 to {n}")
    return tuple(sorted({*_marks(0, n), *extra}))


def _marks(first: int, last: int) -> tuple[int, ...]:
    """`first` and every floor(sqrt(length))-th node down from `last`, in ascending order."""
    return tuple(sorted({first, *range(last, first - 1, -math.isqrt(last - first + 1))}))
