"""Nodes that are read across stages: the forward pass of a `SpanningPlan`."""

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor, nn

from skipweave.layers.aggregation import Aggregation
from skipweave.layers.stage import MakeBody
from skipweave.layers.unit import Unit
from skipweave.ops import crop
from skipweave.topology.spanning_plan import SpanningPlan, Step, Version


class SpanningStages(nn.Module):
    """All stages of a network whose topology spans them; `run` runs them (there is no `forward`).

    Args:
        plan: What is made from what, and carried where.
        aggregation: How nodes are read and normalized.
        entry: Makes node 0 from the stem's output.
        widths: Channels of the nodes 0..L.
        make_body: Given (channels read, channels to make), the convolutions of a unit.
        make_carry: Given (channels, stage it leads to), what takes one node to the next resolution; towards a finer one
            it is called with the size to reach too.
    """

    grad_checkpointing = False

    def __init__(
        self,
        plan: SpanningPlan,
        aggregation: Aggregation,
        entry: nn.Module,
        widths: Sequence[int],
        make_body: MakeBody,
        make_carry: Callable[[int, int], nn.Module],
    ) -> None:
        super().__init__()
        self.plan = plan
        self.widths = tuple(widths)
        self.entry = entry
        self.units = nn.ModuleList()
        self.carries = nn.ModuleDict()
        for step in (step for steps in plan.steps for step in steps):
            width = widths[step.makes.node]
            if step.is_carry:
                kind = _UpCarry if self._is_up(step) else Unit
                self.carries[_name(step)] = kind(
                    aggregation.reader([width]), make_carry(width, step.makes.stage), aggregation.node(width)
                )
            else:
                read = [widths[version.node] for version in step.reads]
                body = make_body(aggregation.width(read), width)
                self.units.append(Unit(aggregation.reader(read), body, aggregation.node(width)))

    def exit_widths(self, node: int) -> tuple[int, ...]:
        """Channels of the nodes that a head right behind a node reads."""
        return tuple(self.widths[read] for read in self.plan.topology.node_and_sources(node))

    def __len__(self) -> int:
        """Return the number of stages."""
        return len(self.plan.units)

    def run(self, x: Tensor, places: Collection[int]) -> Iterator[tuple[Tensor, ...]]:
        """Run on the stem's output x, (N, C, H, W), from place to place; what comes later waits to be asked.

        Args:
            x: The stem's output.
            places: Nodes from 1 to L.

        Yields:
            At each place the node and what it read, newest first.
        """
        alive = {Version(0, 0): self.entry(x)}
        del x  # a node that no one reads any more, the first one
        sizes: dict[int, torch.Size] = {}
        for stage, steps in enumerate(self.plan.steps):
            scale = self.plan.scale(stage)
            for step in steps:
                module = self.carries[_name(step)] if step.is_carry else self.units[step.makes.node - 1]
                inputs: list[Tensor | torch.Size] = [alive[version] for version in step.reads]
                if self._is_up(step):
                    inputs.append(sizes[scale])
                alive[step.makes] = self._run(module, inputs)
                sizes[scale] = alive[step.makes].shape[-2:]
                if step.makes.node in places and not step.is_carry:
                    yield tuple(alive[version] for version in (step.makes, *step.reads))
                for version in step.frees:
                    del alive[version]

    def _is_up(self, step: Step) -> bool:
        """Whether the step carries a node to a finer resolution."""
        stage = step.makes.stage
        return step.is_carry and self.plan.scale(stage) < self.plan.scale(stage - 1)

    def _run(self, module: nn.Module, inputs: list[Tensor | torch.Size]) -> Tensor:
        if self.grad_checkpointing and self.training and torch.is_grad_enabled():
            return module(*inputs, recomputing=True)
        return module(*inputs)


class _UpCarry(Unit):
    """Carries a node to a finer resolution, to the very size that the maps there had on the way down."""

    def _make(self, node: Tensor, size: torch.Size, again: bool = False) -> Tensor:  # type: ignore[override]
        if torch.compiler.is_exporting():  # ONNX has no transposed convolution to a size that is not known yet
            return crop(self.body(self.read(node), [2 * side for side in node.shape[-2:]]), size)
        return self.body(self.read(node), size)


def _name(step: Step) -> str:
    return f"{step.makes.node}_to_{step.makes.stage}"
