"""`BlockStage`: a chain of blocks, each of which reads only the one before."""

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor, nn

from skipweave.layers.activation_checkpointing import recompute
from skipweave.layers.aggregation import SumRead
from skipweave.layers.norm import NormLayer


class BlockStage(nn.Module):
    """The blocks of one resolution, which have their shortcuts inside, such as timm's.

    Args:
        blocks: The blocks, tensor in, tensor out.
        width: Number of channels of their outputs.
        activation: Norm of the norm and ReLU with which an exit reads a block; None if blocks end with an activation.

    Attributes:
        out_width: `width`.

    Shape: (N, C, H, W) to (N, width, H', W').
    """

    grad_checkpointing = False

    def __init__(self, blocks: Sequence[nn.Module], width: int, activation: NormLayer | None) -> None:
        super().__init__()
        self.units = nn.ModuleList(blocks)
        self.out_width = width
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last block."""
        (output,) = next(self.run(x, ()))
        return output

    def run(self, x: Tensor, stops: Collection[int]) -> Iterator[tuple[Tensor, ...]]:
        """Run lazily; yield the output of each block (counted from 1) that is a stop, at the end that of the last."""
        checkpointing = self.grad_checkpointing and self.training and torch.is_grad_enabled()
        for number, block in enumerate(self.units, start=1):
            x = recompute(block, x) if checkpointing else block(x)
            if number in stops:
                yield (x,)
        yield (x,)

    def exit_reader(self, node: int) -> tuple[nn.Module, int]:
        """Create the module with which a head reads the output of a block; also return its output channels."""
        return make_activation(self.out_width, self.activation), self.out_width


def make_activation(width: int, norm_layer: NormLayer | None) -> nn.Module:
    """Norm and ReLU, or identity for None."""
    return nn.Identity() if norm_layer is None else SumRead(width, norm_layer)
