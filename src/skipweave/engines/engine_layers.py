"""A network in the layers that inference engines run fastest."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from skipweave.engines.gather_folding import fold_gathers
from skipweave.engines.grouped_conv import GroupedConv
from skipweave.layers import ChannelSparseConv2d, ConcatRead
from skipweave.tracing.example_inputs import InputSize
from skipweave.transforms import optimize_for_inference
from skipweave.transforms.attachments import replace_modules

# Of blocks as grouped convolutions; beyond, the gather costs more than the links that are left out.
_SMALLEST_BLOCK = 8  # output channels
_MOST_GATHERED = 4  # times the input channels


class ConcatNorm(nn.Module):
    """A `ConcatRead` as concatenation, batch norm and ReLU.

    Engines compute a batch norm in one pass over a map, a scale and shift in two.

    Shape: one (N, widths[s], H, W) per node to (N, sum(widths), H, W).
    """

    def __init__(self, read: ConcatRead) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(len(read.weight), eps=0.0).to(read.weight).eval()
        self.norm.load_state_dict({"weight": read.weight, "bias": read.bias}, strict=False)

    def forward(self, *nodes: Tensor) -> Tensor:
        """Return the activated concatenation of the nodes."""
        return self.norm(torch.cat(nodes, 1) if len(nodes) > 1 else nodes[0]).relu()


def engine_form(network: nn.Module, input_size: InputSize) -> nn.Module:
    """A copy of a network, with the same outputs, in the layers that inference engines run fastest.

    Batch norms are folded (`skipweave.optimize_for_inference`), and the scale and shift of readers become batch norms.
    Channel-sparse convolutions become a gather and a grouped convolution where at least 8 outputs share their inputs
    and no more than four times the inputs are gathered, otherwise a dense convolution with zeros. A gather of the
    outputs of a dense convolution without other readers is folded into its weights.

    Args:
        network: In evaluation mode, on the CPU.
        input_size: Channels, height and width of an image.

    Raises:
        SkipweaveError: The network is not supported, or does not accept the images.
    """
    form = optimize_for_inference(network, memory_format="contiguous", input_size=input_size).network
    replace_modules(form, {part: _FORMS[type(part)](part) for part in form.modules() if type(part) in _FORMS})
    fold_gathers(form, input_size)
    return form.requires_grad_(False)


def _engine_conv(layer: ChannelSparseConv2d) -> nn.Module:
    gathers_little = len(layer.index) * layer.fan_in <= _MOST_GATHERED * layer.in_channels
    in_blocks = layer.block >= _SMALLEST_BLOCK and len(layer.index) > 1 and gathers_little
    return GroupedConv(layer) if in_blocks else layer.to_dense()


_FORMS: Mapping[type, Callable[..., nn.Module]] = {ConcatRead: ConcatNorm, ChannelSparseConv2d: _engine_conv}
