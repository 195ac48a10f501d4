"""SeqConv layers that replace a convolution alone: they return maps before norm and ReLU."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from skipweave.layers.norm import NormLayer, make_norm
from skipweave.layers.seqconv import GroupUnit, SeqConv2d, Sides

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class RawSeqConv2d(SeqConv2d):
    """A `SeqConv2d` that returns its groups before norm and ReLU: replaces a `Conv2d` of stride 1.

    No group reads the last one, so its norm has no affine parameters, which would get no gradient.

    Args:
        in_channels: As for `SeqConv2d`, also for all other arguments.
        bias: Whether a bias is added to the output.

    Shape: (N, in_channels, H, W) to (N, out_channels, H, W).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sides = 3,
        *,
        bias: bool = False,
        norm_layer: NormLayer = "batch",
        **options: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, norm_layer=norm_layer, **options)
        *_, last = (part for part in self.modules() if isinstance(part, GroupUnit))
        last.make.norm = make_norm(self.group_size, norm_layer, affine=False)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw groups, concatenated."""
        raw = torch.cat([raw for raw, _ in self._groups(x, None)], dim=1)
        return raw if self.bias is None else raw + self.bias.view(-1, 1, 1).to(raw)


class RawDownsampling(nn.Module):
    """A down-sampling block that returns its map before norm and ReLU: replaces a strided `Conv2d`.

    A SeqConv layer runs at the resolution of the input, then a strided convolution reduces it. If there are more output
    than input channels, the SeqConv layer computes only the additional ones, and the strided convolution reads the
    input before them (section 3.2 of the paper); otherwise it computes all channels that the convolution reads, as
    before the first stage of the paper's ImageNet networks. The strided convolution has as many groups as the SeqConv
    layer would have with all output channels, times `subgroups`, so that its groups are computed from one group each.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels, a multiple of `group_size`.
        kernel_size: Side of the kernels, odd, or their height and width.
        group_size: Number of channels per group.
        stride: Stride of the strided convolution.
        padding: Padding of the strided convolution, as for `nn.Conv2d`.
        padding_mode: What it is padded with, as for `nn.Conv2d`.
        bias: Whether the strided convolution has a bias.
        subgroups: As for `SeqConv2d`, also for the options.

    Shape: (N, in_channels, H, W) to (N, out_channels, H', W').
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sides = 3,
        *,
        group_size: int,
        stride: Sides = 2,
        padding: int | tuple[int, int] | str = 1,
        padding_mode: PaddingMode = "zeros",
        dilation: Sides = 1,
        bias: bool = False,
        subgroups: int = 1,
        **options: Any,
    ) -> None:
        super().__init__()
        self.keeps_input = out_channels > in_channels
        new = out_channels - in_channels if self.keeps_input else out_channels
        self.extension = SeqConv2d(
            in_channels, new, kernel_size, group_size=group_size, subgroups=subgroups, dilation=dilation, **options
        )
        self.downsize = nn.Conv2d(
            out_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups=out_channels // group_size * subgroups,
            bias=bias,
            padding_mode=padding_mode,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of the strided convolution."""
        new = self.extension(x)
        return self.downsize(torch.cat([x, new], dim=1) if self.keeps_input else new)
