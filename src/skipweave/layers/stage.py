"""`Stage`: the units of one resolution, with their topology and aggregation."""

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor, nn

from skipweave import topology as patterns
from skipweave.layers.aggregation import Aggregation
from skipweave.layers.unit import Unit
from skipweave.topology import Topology
from skipweave_config.errors import SkipweaveError

MakeBody = Callable[[int, int], nn.Module]


class Stage(nn.Module):
    """The units of one resolution: tensor in, tensor out.

    Unit i computes node i from its sources in the topology; a node is freed after its last reader.

    Args:
        topology: Sources of the n units and of the stage's reader.
        aggregation: How nodes are read, normalized and collected.
        entry: Computes node 0 from the stage's input.
        widths: Number of channels of the nodes 0..n.
        make_body: Creates the convolutions of a unit, given the numbers of input and output channels.
        first_body: Like `make_body`, for unit 1, which then reads the stage's input instead of node 0 (a strided
            residual unit next to its projection).
        input_width: Number of channels of the stage's input; required with `first_body`.
        drop_path_rates: Rate of stochastic depth of each unit (`Unit`); 0 by default.

    Attributes:
        out_width: Number of channels of the output.

    Raises:
        SkipweaveError: The number of widths is not n + 1, or that of rates not n.

    Shape: (N, C, H, W) to (N, out_width, H', W').
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
        drop_path_rates: Sequence[float] = (),
    ) -> None:
        super().__init__()
        rates = tuple(drop_path_rates) or (0.0,) * topology.units
        if len(widths) != topology.units + 1:
            raise SkipweaveError(
                f"widths has {len(widths)} entries: expected {topology.units + 1}, one per node including node 0"
            )
        if len(rates) != topology.units:
            raise SkipweaveError(f"drop_path_rates has {len(rates)} entries: expected {topology.units}, one per unit")
        self.topology = topology
        self.aggregation = aggregation
        self.widths = tuple(widths)
        self.out_width = aggregation.width([widths[s] for s in topology.output])
        self._first_reads_input = first_body is not None
        # The sum over all earlier nodes is a running sum: n additions instead of n (n + 1) / 2.
        self._running_sum = aggregation.is_running_sum() and topology == patterns.dense(topology.units)
        self._read = patterns.plain(topology.units) if self._running_sum else topology
        self._freed = _freed_after(self._read)

        self.entry = entry
        self.units = nn.ModuleList()
        for node in range(1, topology.units + 1):
            read, body = [widths[s] for s in topology.sources(node)], make_body
            if node == 1 and first_body is not None:
                read, body = [input_width], first_body
            convolutions = body(aggregation.width(read), widths[node])
            norm = aggregation.node(widths[node])
            self.units.append(Unit(aggregation.reader(read), convolutions, norm, rates[node - 1]))
        self.collect = aggregation.collector([widths[s] for s in topology.output])

    def forward(self, x: Tensor) -> Tensor:
        """Return the collected output nodes."""
        (output,) = next(self.run(x, ()))
        return output

    def run(self, x: Tensor, stops: Collection[int]) -> Iterator[tuple[Tensor, ...]]:
        """Run lazily: nothing after a stop is computed before the next value is requested.

        Args:
            x: The stage's input.
            stops: Nodes in 1..n after which a head reads.

        Yields:
            At each stop the node and its sources, newest first (or their running sum), for `exit_reader`; at the end a
            tuple with only the output of `forward`.
        """
        nodes = {0: self.entry(x)}
        checkpointing = self.grad_checkpointing and self.training and torch.is_grad_enabled()
        for node, unit in enumerate(self.units, start=1):
            read = [nodes[s] for s in self._read.sources(node)]
            if node == 1 and self._first_reads_input:
                read = [x]
            nodes[node] = unit(*read, checkpointing=checkpointing)
            del read
            if self._running_sum:
                nodes[node] = nodes[node] + nodes[node - 1]
            if node in stops:
                yield tuple(nodes[s] for s in self._exit_nodes(node))
            for freed in self._freed[node]:
                del nodes[freed]
        yield (self.collect(*(nodes[s] for s in self._read.output)),)

    def exit_reader(self, node: int) -> tuple[nn.Module, int]:
        """Create the module with which a head reads what `run` yields at a stop; also return its output channels."""
        widths = [self.widths[s] for s in self._exit_nodes(node)]
        return self.aggregation.reader(widths), self.aggregation.width(widths)

    def _exit_nodes(self, node: int) -> tuple[int, ...]:
        return (node,) if self._running_sum else self.topology.node_and_sources(node)

    def extra_repr(self) -> str:
        """Show the topology's name."""
        return f"topology={self.topology.name}"


def _freed_after(topology: Topology) -> tuple[tuple[int, ...], ...]:
    """For each of the nodes 0..n, the nodes whose last reader it is; those that n + 1 reads are not freed."""
    freed: list[list[int]] = [[] for _ in range(topology.units + 1)]
    for node, last in enumerate(topology.last_readers):
        if last <= topology.units:
            freed[last].append(node)
    return tuple(tuple(nodes) for nodes in freed)
