"""Stages of SeqConv layers: their entries and residual blocks.

(Sequentially Aggregated Convolutional Networks, section 4.) Two streams run through a stage: the raw one, to which the
blocks add, and its BN-ReLU, which layers read. Only the activated stream leaves a stage.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor, nn

from skipweave import topology as patterns
from skipweave.layers.activation_checkpointing import recompute
from skipweave.layers.seqconv import ConvUnit, SeqConv2d

Streams = tuple[Tensor, Tensor]


class Opening(nn.Module):
    """Entry of the first stage: a SeqConv layer that widens the stem's output, and optionally a strided unit.

    Args:
        layer: Dense layer from the stem's channels to the stage's C.
        downsize: 3x3 stride-2 unit, C to C (ImageNet); None omits it (CIFAR).

    Shape: (N, C_stem, H, W) to a raw and an activated map (N, C, H', W').
    """

    def __init__(self, layer: SeqConv2d, downsize: ConvUnit | None = None) -> None:
        super().__init__()
        self.layer = layer
        self.downsize = downsize

    def forward(self, x: Tensor) -> Streams:
        """Return the two streams of the first stage."""
        if self.downsize is None:
            return self.layer.raw_and_activated(x)
        return self.downsize.raw_and_activated(self.layer(x))


class Downsampling(nn.Module):
    """Entry of a later stage: a SeqConv layer computes the additional channels, and a strided unit reads all of them.

    Args:
        extension: Layer from the C_old channels of the stage before to C_new - C_old more.
        downsize: 3x3 stride-2 unit, C_new to C_new.
        extension_twice: Whether the unit reads the extension twice instead of input and extension, as in the released
            SeqResNeXt code (whose layers overwrite the list that holds their input). Requires C_new = 2 C_old.

    Shape: (N, C_old, H, W) to a raw and an activated map (N, C_new, H / 2, W / 2).
    """

    def __init__(self, extension: SeqConv2d, downsize: ConvUnit, *, extension_twice: bool = False) -> None:
        super().__init__()
        self.extension = extension
        self.downsize = downsize
        self.extension_twice = extension_twice

    def forward(self, x: Tensor) -> Streams:
        """Return the two streams of the stage."""
        more = self.extension(x)
        return self.downsize.raw_and_activated(torch.cat([more if self.extension_twice else x, more], dim=1))


class ResidualBlock(nn.Module):
    """Two SeqConv layers with an identity shortcut.

    The shortcut is added to each raw group of the second layer before batch norm, so that later groups read the sum.

    Args:
        make_layer: Creates a SeqConv layer of the stage's width.

    Shape: raw and activated maps (N, C, H, W) to the same.
    """

    def __init__(self, make_layer: Callable[[], SeqConv2d]) -> None:
        super().__init__()
        self.first = make_layer()
        self.second = make_layer()

    def forward(self, raw: Tensor, activated: Tensor) -> Streams:
        """Return the two streams after the block."""
        return self.second.raw_and_activated(self.first(activated), shortcut=raw)


class SeqStage(nn.Module):
    """The residual blocks of one resolution: tensor in, tensor out.

    Args:
        entry: Computes both streams from the activated map of the stage before.
        blocks: At least one block, all of the same width and group size.

    Attributes:
        topology: Links of the groups of all layers, which are the nodes; node 0 is the output of the entry. Windows
            continue from layer to layer; in a dense stage a layer reads the layer before it and its own groups.
        out_width: Number of channels C of the stage.
        widths: The same, for node 0 and every block.

    Shape: (N, C', H', W') to the activated map (N, C, H, W).
    """

    grad_checkpointing = False

    def __init__(self, entry: Opening | Downsampling, blocks: Sequence[ResidualBlock]) -> None:
        super().__init__()
        self.entry = entry
        self.units = nn.ModuleList(blocks)
        layer = blocks[0].first
        self.out_width = layer.out_channels
        self.widths = (self.out_width,) * (1 + len(blocks))
        self.topology = _topology(2 * len(blocks), len(layer.groups), layer.windowed)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated stream after the last block."""
        (output,) = next(self.run(x, ()))
        return output

    def run(self, x: Tensor, stops: Collection[int]) -> Iterator[tuple[Tensor, ...]]:
        """Run lazily: nothing after a stop is computed before the next value is requested.

        Args:
            x: The stage's input.
            stops: Blocks, counted from 1, after which a head reads.

        Yields:
            At each stop and at the end, a tuple with only the activated stream.
        """
        streams = self.entry(x)
        for number, block in enumerate(self.units, start=1):
            if self.grad_checkpointing and self.training and torch.is_grad_enabled():
                streams = recompute(block, *streams)
            else:
                streams = block(*streams)
            if number in stops:
                yield (streams[1],)
        yield (streams[1],)

    def exit_reader(self, block: int) -> tuple[nn.Module, int]:
        """Create the module with which a head reads what `run` yields at a stop; also return its output channels."""
        return nn.Identity(), self.out_width

    def extra_repr(self) -> str:
        """Show the topology's name."""
        return f"topology={self.topology.name}"


def _topology(layers: int, groups: int, windowed: bool) -> patterns.Topology:
    """Topology of the groups of consecutive layers."""
    if windowed:
        return patterns.window(layers * groups, size=groups)
    layer = patterns.Topology((*patterns.dense(groups).reads[:-1], tuple(range(1, groups + 1))))
    return patterns.join_stages([layer] * layers)
