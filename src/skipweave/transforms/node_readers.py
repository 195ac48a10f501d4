"""Which modules of a network weigh the nodes that they read, one by one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import nn

from skipweave.layers.aggregation import ConcatRead
from skipweave.layers.cross_layer_aggregation import CrossConv, CrossRead
from skipweave.layers.spanning_stages import SpanningStages
from skipweave.layers.stage import Stage
from skipweave.layers.unit import Unit


@dataclass(frozen=True)
class Reader:
    """A module with weights of its own for each node that it reads.

    Attributes:
        module: A `Unit` that concatenates nodes or filters across them, or the `CrossConv` that reads a stage.
        name: Of the module in the network.
        stage: Whose topology it follows, counted from 0; 0 too where one topology spans the stages.
        node: The node that it makes; n + 1 for who reads a stage of n units.
        sources: The nodes that it reads, in the order of its weights (newest first).
        followed: Whether heads and feature maps read what this reader reads, so that its links are not its alone.
    """

    module: Unit | CrossConv
    name: str
    stage: int
    node: int
    sources: tuple[int, ...]
    followed: bool = False

    @property
    def cross(self) -> tuple[str, CrossConv] | None:
        """The convolution across the nodes, and its name in the network; None where nodes are concatenated."""
        if isinstance(self.module, CrossConv):
            return self.name, self.module
        read = self.module.read
        return (f"{self.name}.read.cross", read.cross) if isinstance(read, CrossRead) else None

    @property
    def fewest(self) -> int:
        """Sources that it needs: a convolution across nodes two, since a single node is read without one."""
        return 2 if self.cross else 1

    @property
    def concat(self) -> ConcatRead | None:
        """The concatenation of the nodes; None where they are filtered across."""
        read = self.module.read if isinstance(self.module, Unit) else None
        return read if isinstance(read, ConcatRead) else None

    @property
    def convolution(self) -> tuple[str, nn.Conv2d]:
        """The first convolution of a unit, and its name in the network."""
        assert isinstance(self.module, Unit)
        named = self.module.body.named_modules(prefix=f"{self.name}.body")
        return next((name, part) for name, part in named if isinstance(part, nn.Conv2d))


def readers(model: nn.Module) -> Iterator[Reader]:
    """Find the readers of a network that weigh nodes one by one, in order; sums of nodes have no such weights."""
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
    """Units in order. What a stage leaves, for heads and as a feature map, is its last node and what that one reads."""
    for node, unit in enumerate(stages.units, start=1):
        assert isinstance(unit, Unit)
        followed = node in exits or node in stages.plan.ends
        yield Reader(unit, f"stages.units.{node - 1}", 0, node, stages.plan.topology.sources(node), followed)


def _local(stage: Stage, number: int, exits: set[int]) -> Iterator[Reader]:
    """Units in order, and at the end who reads the stage, if it weighs the nodes."""
    for node, unit in enumerate(stage.units, start=1):
        assert isinstance(unit, Unit)
        sources = stage.topology.sources(node)
        yield Reader(unit, f"stages.{number}.units.{node - 1}", number, node, sources, node in exits)
    if isinstance(stage.collect, CrossConv):
        output = stage.topology.output
        yield Reader(stage.collect, f"stages.{number}.collect", number, stage.topology.units + 1, output)


def _weighing(found: Iterator[Reader]) -> Iterator[Reader]:
    return (reader for reader in found if reader.cross or reader.concat)
