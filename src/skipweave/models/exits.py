"""Heads on the way: after which units they are, and hearing one after another."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from torch import Tensor, nn

Heads = Literal["last", "stages"] | Sequence[int]
Nodes = tuple[Tensor, ...]


def predictions(run: Iterator[Nodes], exits: nn.ModuleList, head: Callable[..., Tensor]) -> Iterator[Tensor]:
    """Yield what each exit says of what it reads, at the end what the head says.

    Nothing behind an exit is computed before the next one is asked for.

    Args:
        run: Runs to the next exit when asked to, in the end to the head, and gives the nodes that are read there.
        exits: In the order of their places.
        head: Called, like the exits, with one argument a node.
    """
    for way_out in exits:
        yield way_out(*next(run))
    yield head(*next(run))
