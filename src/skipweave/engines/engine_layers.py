"""A network in the layers that inference engines run fastest."""

import torch
from torch import Tensor, nn

from skipweave.engines.gather_folding import fold_gathers
from skipweave.engines.grouped_conv import GroupedConv
from skipweave.layers import ChannelSparseConv2d, ConcatRead
from skipweave.tracing.example_inputs import InputSize
from skipweave.transforms import optimize_for_inference

_SMALLEST_BLOCK = 8  # output channels: below, the gather costs more than the links that are left out


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


def engine_form(network: nn.Module, input_size: InputSize) -> nn.Module:
    """A copy of a network, with the same outputs, in the layers that inference engines run fastest.

    Batch norms are folded (`skipweave.optimize_for_inference`), the scale and shift of readers become batch norms, and
    channel-sparse convolutions become a gather and a grouped convolution where at least 8 outputs share their inputs,
    otherwise a dense convolution with zeros. A gather of the outputs of a dense convolution without other readers is
    folded into its weights.

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
    fold_gathers(form, input_size)
    return form.requires_grad_(False).to(memory_format=torch.contiguous_format)


def _engine_conv(layer: ChannelSparseConv2d) -> nn.Module:
    in_blocks = layer.block >= _SMALLEST_BLOCK and len(layer.index) > 1
    return GroupedConv(layer) if in_blocks else layer.to_dense()
