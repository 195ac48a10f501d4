"""Running stage after stage and hearing the heads on the way, holding what a stage leaves no longer than it is read."""

import itertools
from collections.abc import Callable, Iterator
from typing import Literal

from torch import Tensor, nn

Heads = Literal["last", "stages"]
Nodes = tuple[Tensor, ...]


def left_by_last(stages: Iterator[Nodes], count: int) -> Nodes:
    """Run stages and return what the last of `count` leaves; what the others leave is let go before the next one runs.

    (A loop over `stages` would keep it meanwhile in the loop's variable, and `enumerate` in its own tuple.)
    """
    return next(itertools.islice(stages, count - 1, None))


def predictions(
    stages: Iterator[Nodes], count: int, exits: nn.ModuleList, head: Callable[..., Tensor]
) -> Iterator[Tensor]:
    """Yield what each exit says of its stage's nodes, at the end what the head says of the last stage's.

    Nothing behind an exit is computed before the next one is asked for.

    Args:
        stages: Runs a stage when asked for the next one, and gives the nodes that a head reads there.
        count: Stages.
        exits: One a stage but the last, or none.
        head: Called, like the exits, with one argument a node.
    """
    for way_out in exits:
        yield way_out(*next(stages))
    yield head(*left_by_last(stages, count - len(exits)))
