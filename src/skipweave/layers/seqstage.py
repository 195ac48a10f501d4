"""Stages of SeqConv layers: residual blocks of two, and how a stage begins.

Sequentially Aggregated Convolutional Networks, section 4. Two streams run through a stage: the raw one, to which the
blocks add, and its BN-ReLU, which layers read. From stage to stage goes only the activated one.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor, nn

from skipweave import topology as patterns
from skipweave.layers.activation_checkpointing import recompute
from skipweave.layers.seqconv import ConvUnit, SeqConv2d

Streams = tuple[Tensor, Tensor]


class Opening(nn.Module):
    """How the first stage begins: a SeqConv layer widens the stem's output, and a strided unit may follow (ImageNet).

    Args:
        layer: Dense, from the stem's channels to the stage's C.
        downsize: 3x3 stride-2 unit, C to C; None leaves it out (CIFAR).

    Shape: (N, C_stem, H, W) to a raw and an activated map (N, C, H', W').
    """

    def __init__(self, layer: SeqConv2d, downsize: ConvUnit | None = None) -> None:
        super().__init__()
        self.layer = layer
        self.downsize = downsize

    def forward(self, x: Tensor) -> Streams:
        """Return the two streams of the first stage."""
        return self.layer.pair(x) if self.downsize is None else self.downsize.pair(self.layer(x))


class Downsampling(nn.Module):
    """How a later stage begins: a SeqConv layer makes the channels that are missing, a strided unit reads all of them.

    Args:
        extension: From the C_old channels of the stage before to C_new - C_old more.
        downsize: 3x3 stride-2 unit, C_new to C_new.
        extension_twice: Whether the unit reads the extension twice in place of input and extension, as in the released
            SeqResNeXt code (whose layers overwrite the list that holds their input). Needs C_new = 2 C_old.

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
        return self.downsize.pair(torch.cat([more if self.extension_twice else x, more], dim=1))


class ResidualBlock(nn.Module):
    """Two windowed (or dense) SeqConv layers and an identity shortcut around them.

    The shortcut is added to the second layer's raw groups one by one, before batch norm, so that it is part of what
    later groups read.

    Args:
        make_layer: Makes a SeqConv layer of the stage's width.

    Shape: raw and activated maps (N, C, H, W) to the same.
    """

    def __init__(self, make_layer: Callable[[], SeqConv2d]) -> None:
        super().__init__()
        self.first = make_layer()
        self.second = make_layer()

    def forward(self, raw: Tensor, activated: Tensor) -> Streams:
        """Return the two streams behind the block."""
        return self.second.pair(self.first(activated), shortcut=raw)


class SeqStage(nn.Module):
    """The residual blocks of one resolution: tensor in, tensor out.

    Args:
        entry: Makes both streams from the activated map of the stage before.
        blocks: The stage's blocks, all of one width and one group size; at least one.

    Attributes:
        topology: What the groups of the blocks' layers read, groups being the nodes; node 0 is what the entry makes. A
            window slides on from layer to layer; in a dense stage a layer reads the layer before it and its own groups.
        out_width: Channels C of the stage.
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
        self.topology = _through(2 * len(blocks), len(layer.groups), layer.windowed)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated stream behind the last block."""
        (output,) = next(self.run(x, ()))
        return output

    def run(self, x: Tensor, places: Collection[int]) -> Iterator[tuple[Tensor, ...]]:
        """Run on the stage's input from place to place; what comes later waits to be asked.

        Args:
            x: The stage's input.
            places: Blocks, counted from 1.

        Yields:
            At each place, and at the end, the activated stream, alone.
        """
        streams = self.entry(x)
        for number, block in enumerate(self.units, start=1):
            if self.grad_checkpointing and self.training and torch.is_grad_enabled():
                streams = recompute(block, *streams)
            else:
                streams = block(*streams)
            if number in places:
                yield (streams[1],)
        yield (streams[1],)

    def exit_reader(self, place: int) -> tuple[nn.Module, int]:
        """Return the module with which a head reads what `run` yields at a place, and its channels."""
        return nn.Identity(), self.out_width

    def extra_repr(self) -> str:
        """Show the topology's name."""
        return f"topology={self.topology.name}"


def _through(layers: int, groups: int, windowed: bool) -> patterns.Topology:
    """Topology of the groups of layers in a row."""
    if windowed:
        return patterns.window(layers * groups, size=groups)
    layer = patterns.Topology((*patterns.dense(groups).reads[:-1], tuple(range(1, groups + 1))))
    return patterns.join_stages([layer] * layers)
