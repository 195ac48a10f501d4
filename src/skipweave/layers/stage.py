"""The one stage implementation: a topology says what is read, an aggregation how, units make the nodes."""

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor, nn

from skipweave import topology as patterns
from skipweave.errors import SkipweaveError
from skipweave.layers.aggregation import Aggregation
from skipweave.layers.unit import Unit
from skipweave.topology import Topology

MakeBody = Callable[[int, int], nn.Module]


class Stage(nn.Module):
    """The nodes of one resolution: tensor in, tensor out.

    Unit i makes node i from the nodes that the topology names; a node is let go after its last reader. The stage's
    input lives as long as the call, which holds its arguments.

    Args:
        topology: What each of the n units, and whoever reads the stage, reads.
        aggregation: How nodes are read, normalized and collected.
        entry: Makes node 0 from the stage's input.
        widths: Channels of the nodes 0..n.
        make_body: Given (channels read, channels to make), the convolutions of a unit.
        first_body: The convolutions of unit 1 where that unit reads the stage's raw input instead of node 0 (a strided
            residual unit beside its projection); called like `make_body`.
        input_width: Channels of that raw input; needed with `first_body`.

    Raises:
        SkipweaveError: The number of widths is not n + 1.
    """

    grad_checkpointing = False

    def __init__(
        self,
        topology: Topology,
        aggregation: Aggregation,
        entry: nn.Module,
        widths: Sequence[int],
        make_body: MakeBody,
        *,
        first_body: MakeBody | None = None,
        input_width: int = 0,
    ) -> None:
        super().__init__()
        if len(widths) != topology.units + 1:
            raise SkipweaveError(
                f"{len(widths)} widths for {topology.units + 1} nodes: give one a node, node 0 included"
            )
        self.topology = topology
        self.aggregation = aggregation
        self.widths = tuple(widths)
        self.out_width = aggregation.width([widths[s] for s in topology.output])
        self._first_reads_input = first_body is not None
        # A sum over all earlier nodes is a running sum: n additions instead of n (n + 1) / 2.
        self._running_sum = aggregation.is_running_sum() and topology == patterns.dense(topology.units)
        self._read = patterns.plain(topology.units) if self._running_sum else topology
        self._spent = _spent_after(self._read)

        self.entry = entry
        self.units = nn.ModuleList()
        for node in range(1, topology.units + 1):
            raw = node == 1 and first_body is not None
            read = [input_width] if raw else [widths[s] for s in topology.sources(node)]
            body = first_body if raw and first_body is not None else make_body
            unit = Unit(
                aggregation.reader(read),
                body(aggregation.width(read), widths[node]),
                aggregation.node(widths[node]),
            )
            self.units.append(unit)
        self.collect = aggregation.collector([widths[s] for s in topology.output])

    def forward(self, x: Tensor) -> Tensor:
        """Return the collected output nodes, (N, out_width, H, W), for the stage's input."""
        (output,) = next(self.run(x, ()))
        return output

    def run(self, x: Tensor, places: Collection[int]) -> Iterator[tuple[Tensor, ...]]:
        """Run on the stage's input from place to place; what comes later waits to be asked.

        Args:
            x: The stage's input.
            places: Nodes from 1 to n.

        Yields:
            At each place the node and what it read, newest first (or their running sum), for `exit_reader`; at the end
            the output of `forward`, alone.
        """
        nodes = {0: self.entry(x)}
        for node, unit in enumerate(self.units, start=1):
            raw = node == 1 and self._first_reads_input
            nodes[node] = self._run(unit, [x] if raw else [nodes[s] for s in self._read.sources(node)])
            if self._running_sum:
                nodes[node] = nodes[node] + nodes[node - 1]
            if node in places:
                yield tuple(nodes[s] for s in self._behind(node))
            for spent in self._spent[node]:
                del nodes[spent]
        yield (self.collect(*(nodes[s] for s in self._read.output)),)

    def exit_reader(self, node: int) -> tuple[nn.Module, int]:
        """Return the module with which a head reads what `run` yields behind a node, and the channels it makes."""
        widths = [self.widths[s] for s in self._behind(node)]
        return self.aggregation.reader(widths), self.aggregation.width(widths)

    def _behind(self, node: int) -> tuple[int, ...]:
        return (node,) if self._running_sum else self.topology.node_and_sources(node)

    def _run(self, unit: nn.Module, nodes: list[Tensor]) -> Tensor:
        if self.grad_checkpointing and self.training and torch.is_grad_enabled():
            return unit(*nodes, recomputing=True)
        return unit(*nodes)

    def extra_repr(self) -> str:
        """Show the topology's name."""
        return f"topology={self.topology.name}"


def _spent_after(topology: Topology) -> tuple[tuple[int, ...], ...]:
    """For each node 0..n, the nodes that nobody reads once it is made (n + 1 reads last, and keeps what it reads)."""
    spent: list[list[int]] = [[] for _ in range(topology.units + 1)]
    for node, last in enumerate(topology.last_readers):
        if last <= topology.units:
            spent[last].append(node)
    return tuple(tuple(nodes) for nodes in spent)
