"""A network in the layers that inference engines run fastest."""

import torch
from torch import Tensor, nn

from skipweave.layers import ChannelSparseConv2d, ConcatRead
from skipweave.tracing.example_inputs import InputSize
from skipweave.transforms import optimize_for_inference

_SMALLEST_BLOCK = 8  # output channels: below, the gathers of a block cost more than the links that it leaves out


class ConcatNorm(nn.Module):
    """A `ConcatRead` as concatenation, batch norm and ReLU.

    Engines compute a batch norm in one pass over a map, a scale and shift in two.

    Shape: one (N, widths[s], H, W) per node to (N, sum(widths), H, W).
    """

    def __init__(self, read: ConcatRead) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(len(read.gain), eps=0.0).to(read.gain).eval()
        self.norm.load_state_dict({"weight": read.gain, "bias": read.bias}, strict=False)

    def forward(self, *nodes: Tensor) -> Tensor:
        """Return the activated concatenation of the nodes."""
        return self.norm(torch.cat(nodes, 1) if len(nodes) > 1 else nodes[0]).relu()


class BlockConv(nn.Module):
    """A channel-sparse convolution as a gather and a dense convolution for each block of outputs.

    Shape: (N, in_channels, H, W) to (N, out_channels, H', W').
    """

    def __init__(self, layer: ChannelSparseConv2d) -> None:
        super().__init__()
        self.sources = [f"sources_{number}" for number in range(len(layer.index))]
        for name, sources in zip(self.sources, layer.index.long(), strict=True):
            self.register_buffer(name, sources)
        biases = layer.bias.split(layer.block) if layer.bias is not None else [None] * len(layer.index)
        self.convs = nn.ModuleList(
            _dense(layer, weight, bias) for weight, bias in zip(layer.weight.split(layer.block), biases, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved map."""
        gathered = (x.index_select(1, getattr(self, name)) for name in self.sources)
        return torch.cat([conv(inputs) for conv, inputs in zip(self.convs, gathered, strict=True)], 1)


def _dense(layer: ChannelSparseConv2d, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """The dense convolution of one block, from its gathered inputs."""
    conv = nn.Conv2d(
        weight.shape[1],
        weight.shape[0],
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        bias=bias is not None,
        padding_mode=layer.padding_mode,
    ).to(weight)
    state = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    conv.load_state_dict(state)
    return conv.eval()


def engine_form(network: nn.Module, input_size: InputSize) -> nn.Module:
    """A copy of a network, with the same outputs, in the layers that inference engines run fastest.

    Batch norms are folded (`skipweave.optimize_for_inference`), the scale and shift of readers become batch norms, and
    channel-sparse convolutions become dense ones: one per block where at least 8 outputs share their inputs, otherwise
    one with zeros.

    Args:
        network: In evaluation mode, on the CPU.
        input_size: Channels, height and width of an image.

    Raises:
        SkipweaveError: The network is not supported, or does not accept the images.
    """
    form = optimize_for_inference(network, memory_format="channels_last", input_size=input_size).network
    for name, part in list(form.named_modules()):
        if type(part) is ConcatRead:
            form.set_submodule(name, ConcatNorm(part))
        elif isinstance(part, ChannelSparseConv2d):
            form.set_submodule(name, _engine_conv(part))
    return form.requires_grad_(False).to(memory_format=torch.contiguous_format)


def _engine_conv(layer: ChannelSparseConv2d) -> nn.Module:
    in_blocks = layer.block >= _SMALLEST_BLOCK and len(layer.index) > 1
    return BlockConv(layer) if in_blocks else layer.to_dense()
