"""`SpanningStages`: the stages of a network whose topology spans all of them."""

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor, nn

from skipweave.layers.aggregation import Aggregation
from skipweave.layers.stage import MakeBody
from skipweave.layers.unit import Unit
from skipweave.ops import crop
from skipweave.topology.spanning_plan import SpanningPlan, Step, Version


class SpanningStages(nn.Module):
    """All stages of a network whose topology spans them; `run` executes the plan (there is no `forward`).

    Args:
        plan: Steps of the forward pass.
        aggregation: How nodes are read and normalized.
        entry: Computes node 0 from the stem's output.
        widths: Number of channels of the nodes 0..L.
        make_body: Creates the convolutions of a unit, given the numbers of input and output channels.
        make_carry: Creates the layers that carry a node to another resolution, given its number of channels and the
            target stage; layers towards a finer resolution are called with the target size as second argument.
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
        """Number of channels of each node that a head at this node reads."""
        return tuple(self.widths[read] for read in self.plan.topology.node_and_sources(node))

    def __len__(self) -> int:
        """Return the number of stages."""
        return len(self.plan.units)

    def run(self, x: Tensor, stops: Collection[int]) -> Iterator[tuple[Tensor, ...]]:
        """Run lazily: nothing after a stop is computed before the next value is requested.

        Args:
            x: The stem's output (N, C, H, W).
            stops: Nodes in 1..L after which a head reads.

        Yields:
            At each stop the node and its sources, newest first.
        """
        alive = {Version(0, 0): self.entry(x)}
        del x  # frees the stem's output
        checkpointing = self.grad_checkpointing and self.training and torch.is_grad_enabled()
        sizes: dict[int, torch.Size] = {}
        for stage, steps in enumerate(self.plan.steps):
            scale = self.plan.scale(stage)
            for step in steps:
                module = self.carries[_name(step)] if step.is_carry else self.units[step.makes.node - 1]
                inputs: list[Tensor | torch.Size] = [alive[version] for version in step.reads]
                if self._is_up(step):
                    inputs.append(sizes[scale])
                alive[step.makes] = module(*inputs, checkpointing=checkpointing)
                del inputs
                sizes[scale] = alive[step.makes].shape[-2:]
                if step.makes.node in stops and not step.is_carry:
                    yield tuple(alive[version] for version in (step.makes, *step.reads))
                for version in step.frees:
                    del alive[version]

    def _is_up(self, step: Step) -> bool:
        """Whether the step carries a node to a finer resolution."""
        stage = step.makes.stage
        return step.is_carry and self.plan.scale(stage) < self.plan.scale(stage - 1)


class _UpCarry(Unit):
    """Carries a node to a finer resolution, to the size that its maps had on the way down."""

    def _convolved(self, node: Tensor, size: torch.Size, checkpointing: bool = False) -> Tensor:  # type: ignore[override]
        if torch.compiler.is_exporting():  # ONNX has no transposed convolution to a dynamic size
            return crop(self.body(self.read(node), [2 * side for side in node.shape[-2:]]), size)
        return self.body(self.read(node), size)


def _name(step: Step) -> str:
    return f"{step.makes.node}_to_{step.makes.stage}"
