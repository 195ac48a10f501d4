"""Channel-sparse convolutions in blocks, as engines run them fastest."""

from torch import Tensor, nn

from skipweave.layers import ChannelSparseConv2d


class GroupedConv(nn.Module):
    """A channel-sparse convolution as a gather of the inputs of all blocks and one grouped convolution.

    Shape: (N, in_channels, H, W) to (N, out_channels, H', W').
    """

    sources: Tensor

    def __init__(self, layer: ChannelSparseConv2d) -> None:
        super().__init__()
        self.register_buffer("sources", layer.index.flatten().long())
        self.conv = nn.Conv2d(
            len(self.sources),
            layer.out_channels,
            layer.kernel_size,
            layer.stride,
            layer.padding,
            layer.dilation,
            groups=len(layer.index),
            bias=layer.bias is not None,
            padding_mode=layer.padding_mode,
        ).to(layer.weight)
        self.conv.load_state_dict({name: tensor for name, tensor in layer.state_dict().items() if name != "index"})
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved map."""
        convolved: Tensor = self.conv(x.index_select(1, self.sources))
        return convolved
