"""Readers of nodes: the modules of a network with separate weights for each node that they read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import nn

from skipweave.layers.aggregation import ConcatRead
from skipweave.layers.channel_sparse import ChannelSparseConv2d
from skipweave.layers.cross_layer_aggregation import CrossConv, CrossRead
from skipweave.layers.spanning_stages import SpanningStages
from skipweave.layers.stage import Stage
from skipweave.layers.unit import Unit
from skipweave_config.errors import SkipweaveError


@dataclass(frozen=True)
class Reader:
    """A module with separate weights for each node that it reads.

    Attributes:
        module: A `Unit` on concatenated nodes or with a cross-layer convolution, or the `CrossConv` that reads a stage.
        name: Name of the module in the network.
        stage: Index of the stage, from 0; 0 if one topology spans all stages.
        node: The node that it computes; n + 1 for the reader of a stage of n units.
        sources: The nodes that it reads, in the order of its weights (newest first).
        shared: Whether heads or feature maps read the same nodes, so that its links cannot be removed separately.
    """

    module: Unit | CrossConv
    name: str
    stage: int
    node: int
    sources: tuple[int, ...]
    shared: bool = False

    @property
    def cross(self) -> tuple[str, CrossConv] | None:
        """Name and module of the cross-layer convolution; None if nodes are concatenated."""
        if isinstance(self.module, CrossConv):
            return self.name, self.module
        read = self.module.read
        return (f"{self.name}.read.cross", read.cross) if isinstance(read, CrossRead) else None

    @property
    def min_sources(self) -> int:
        """Minimum number of sources: 2 for a cross-layer convolution, since a single node is read without it."""
        return 2 if self.cross else 1

    @property
    def concat(self) -> ConcatRead | None:
        """The read of concatenated nodes; None with a cross-layer convolution."""
        read = self.module.read if isinstance(self.module, Unit) else None
        return read if isinstance(read, ConcatRead) else None

    @property
    def convolution(self) -> tuple[str, nn.Conv2d | ChannelSparseConv2d]:
        """Name and module of the unit's first convolution.

        Raises:
            SkipweaveError: Another layer has taken its place, such as one of `convert`.
        """
        assert isinstance(self.module, Unit)
        name, part = f"{self.name}.body", self.module.body
        while isinstance(part, nn.Sequential):
            (child, part), *_ = part.named_children()
            name = f"{name}.{child}"
        if not isinstance(part, nn.Conv2d | ChannelSparseConv2d):
            raise SkipweaveError(
                f"{name} is a {type(part).__name__}: expected a convolution that reads the nodes, as before `convert`"
            )
        return name, part


def readers(model: nn.Module) -> Iterator[Reader]:
    """Yield the readers of a network in order; sums of nodes have no separate weights."""
    stages = getattr(model, "stages", ())
    exits = set(getattr(model, "exit_units", ()))
    if isinstance(stages, SpanningStages):
        yield from _weighing(_spanning(stages, exits))
    elif isinstance(stages, Iterable):
        start = 0
        for number, stage in enumerate(stages):
            if isinstance(stage, Stage):
                yield from _weighing(_local(stage, number, {place - start for place in exits}))
                start += stage.topology.units


def _spanning(stages: SpanningStages, exits: set[int]) -> Iterator[Reader]:
    """Units in order. The output of a stage, for heads and as a feature map, is its last node and its sources."""
    for node, unit in enumerate(stages.units, start=1):
        assert isinstance(unit, Unit)
        shared = node in exits or node in stages.plan.ends
        yield Reader(unit, f"stages.units.{node - 1}", 0, node, stages.plan.topology.sources(node), shared)


def _local(stage: Stage, number: int, exits: set[int]) -> Iterator[Reader]:
    """Units in order, and the stage's reader if it has a weight per node."""
    for node, unit in enumerate(stage.units, start=1):
        assert isinstance(unit, Unit)
        sources = stage.topology.sources(node)
        yield Reader(unit, f"stages.{number}.units.{node - 1}", number, node, sources, node in exits)
    if isinstance(stage.collect, CrossConv):
        output = stage.topology.output
        yield Reader(stage.collect, f"stages.{number}.collect", number, stage.topology.units + 1, output)


def _weighing(found: Iterator[Reader]) -> Iterator[Reader]:
    return (reader for reader in found if reader.cross or reader.concat)
