"""SeqConv: a wide convolution computed group by group, where each group reads those before it.

(Sequentially Aggregated Convolutional Networks, section 3.)
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from skipweave import topology as patterns
from skipweave.layers.norm import NormLayer, make_norm
from skipweave.layers.unit import norm_relu
from skipweave.ops import ConcatBuffer
from skipweave_config.errors import SkipweaveError
from skipweave_config.integers import is_integer

Sides = int | tuple[int, int]
"""Height and width of a kernel or a dilation, or one number for both."""

Dropout = Literal["groups", "layer"]
"""What dropout applies to: the channels that each group reads, or the elements of the layer's input."""

# The links of more groups would not fit into memory if all read all.
_MAX_GROUPS = 4096


class ConvUnit(nn.Module):
    """Convolution, norm, ReLU.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        kernel_size: Side of the kernel, odd, or its height and width; padding keeps the size up to the stride.
        stride: Stride of the convolution.
        dilation: Dilation of the convolution, or its dilations of height and width.
        groups: Groups of the convolution.
        norm_layer: The norm (`make_norm`).

    Shape: (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sides = 3,
        *,
        stride: int = 1,
        dilation: Sides = 1,
        groups: int = 1,
        norm_layer: NormLayer = "batch",
    ) -> None:
        super().__init__()
        sides, dilations = _pair(kernel_size), _pair(dilation)
        padding = dilations[0] * (sides[0] // 2), dilations[1] * (sides[1] // 2)
        self.conv = nn.Conv2d(in_channels, out_channels, sides, stride, padding, dilations, groups=groups, bias=False)
        self.norm = make_norm(out_channels, norm_layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        return self.raw_and_activated(x)[1]

    def raw_and_activated(self, x: Tensor, shortcut: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the convolution's output plus the shortcut, and its BN-ReLU."""
        raw = self.conv(x)
        if shortcut is not None:
            raw = raw + shortcut
        return raw, norm_relu(self.norm, raw)


class GroupUnit(nn.Module):
    """One group of a `SeqConv2d`: a convolution, optionally preceded by a 1x1 convolution ("B").

    Args:
        in_channels: Number of input channels.
        group_size: Number of output channels.
        kernel_size: Side of the kernel, or its height and width.
        dilation: Dilation of the convolution, or its dilations of height and width.
        bottleneck: Whether a 1x1 unit with `group_size` output channels comes first.
        subgroups: Groups of the convolution.
        norm_layer: The norm of each unit (`make_norm`).

    Shape: (N, in_channels, H, W) to a raw and an activated map (N, group_size, H, W).
    """

    def __init__(
        self,
        in_channels: int,
        group_size: int,
        kernel_size: Sides = 3,
        *,
        dilation: Sides = 1,
        bottleneck: bool = False,
        subgroups: int = 1,
        norm_layer: NormLayer = "batch",
    ) -> None:
        super().__init__()
        make_unit = partial(ConvUnit, norm_layer=norm_layer)
        self.reduce = make_unit(in_channels, group_size, kernel_size=1) if bottleneck else nn.Identity()
        width = group_size if bottleneck else in_channels
        self.make = make_unit(width, group_size, kernel_size, dilation=dilation, groups=subgroups)

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the group's raw map plus the shortcut (N, group_size, H, W), and its BN-ReLU."""
        return self.make.raw_and_activated(self.reduce(x), shortcut)


class SeqConv2d(nn.Module):
    """A stride-1 convolution with batch norm and ReLU whose output channels are computed group by group.

    Replaces `Conv2d(in_channels, out_channels, 3, padding=1)`, `BatchNorm2d` and `ReLU`. Group i reads the input and
    the activated groups 1..i-1 (dense), or the newest in_channels of these channels (windowed: the number of weights
    does not depend on the number of groups). Input and groups share one buffer, and groups read views of it. With
    dropout of groups, a group in training reads a copy of its own, which is saved for the backward pass.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels of all groups, a multiple of `group_size`.
        kernel_size: Side of the kernel, odd, or its height and width.
        group_size: Number of channels per group, the paper's k.
        windowed: Whether groups read a window; `in_channels` must then be a multiple of `group_size`.
        bottleneck: Whether a 1x1 unit precedes the convolution of each group ("-B").
        subgroups: Groups of that convolution ("SeqResNeXt"); more than 1 only with `bottleneck`.
        dilation: Dilation of the convolutions, or their dilations of height and width.
        drop_rate: Dropout rate.
        dropout: `"groups"` drops channels of the input of each group, independently between groups (the released code);
            `"layer"` drops elements of the layer's input, once for all groups (the paper's text).
        norm_layer: The norm of each group (`make_norm`).

    Attributes:
        topology: Links of the groups. Nodes are groups of channels: first those of the input (the whole input as one
            node if the layer is dense), then those of the output.

    Raises:
        SkipweaveError: Arguments are invalid; names all of them.

    Shape: (N, in_channels, H, W) to (N, out_channels, H, W).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sides = 3,
        *,
        group_size: int,
        windowed: bool = True,
        bottleneck: bool = False,
        subgroups: int = 1,
        dilation: Sides = 1,
        drop_rate: float = 0.0,
        dropout: Dropout = "groups",
        norm_layer: NormLayer = "batch",
    ) -> None:
        super().__init__()
        sizes: dict[str, Any] = dict(
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=kernel_size,
            group_size=group_size,
            subgroups=subgroups,
            dilation=dilation,
        )
        if problems := [*_not_positive(sizes)] or [*_mismatches(sizes, windowed, bottleneck, drop_rate, dropout)]:
            raise SkipweaveError(*problems)
        self.in_channels, self.out_channels, self.group_size = in_channels, out_channels, group_size
        self.windowed = windowed
        self._input_nodes = in_channels // group_size if windowed else 1
        nodes = self._input_nodes + out_channels // group_size
        self.topology = patterns.window(nodes - 1, size=self._input_nodes) if windowed else patterns.dense(nodes - 1)
        self.dropout = dropout
        self.drop = nn.Dropout2d(drop_rate) if dropout == "groups" else nn.Dropout(drop_rate)
        self.groups = nn.ModuleList(
            GroupUnit(
                in_channels if windowed else in_channels + made * group_size,
                group_size,
                kernel_size,
                dilation=dilation,
                bottleneck=bottleneck,
                subgroups=subgroups,
                norm_layer=norm_layer,
            )
            for made in range(out_channels // group_size)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated groups, concatenated."""
        return torch.cat([activated for _, activated in self._groups(x, None)], dim=1)

    def raw_and_activated(self, x: Tensor, shortcut: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the raw and the activated groups, each (N, out_channels, H, W).

        Args:
            x: The layer's activated input (N, in_channels, H, W).
            shortcut: (N, out_channels, H, W), added to the raw groups: its slice is added to each group before batch
                norm, so that later groups read the sum.

        Raises:
            SkipweaveError: The shortcut has another shape.
        """
        expected = (x.shape[0], self.out_channels, *x.shape[-2:]) if isinstance(x, Tensor) else ()
        if shortcut is not None and isinstance(x, Tensor) and shortcut.shape != expected:
            raise SkipweaveError(
                f"shortcut has shape {tuple(shortcut.shape)} with an input of {tuple(x.shape)}: expected {expected}"
            )
        raw, activated = zip(*self._groups(x, shortcut), strict=True)
        return torch.cat(raw, dim=1), torch.cat(activated, dim=1)

    def _groups(self, x: Tensor, shortcut: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the raw and the activated map of each group."""
        if self.dropout == "layer":
            x = self.drop(x)
        inputs = self._split(x, self._input_nodes) if self.windowed else (x,)
        buffer = ConcatBuffer(inputs, room=self.out_channels)
        shortcuts: Sequence[Tensor | None] = [None] * len(self.groups)
        if shortcut is not None:
            shortcuts = self._split(shortcut, len(self.groups))
        for node, (unit, added) in enumerate(zip(self.groups, shortcuts, strict=True), start=self._input_nodes):
            oldest = self.topology.sources(node)[-1]  # windowed or dense, all newer nodes are read
            read = buffer.read(oldest)
            raw, activated = unit(self.drop(read) if self.dropout == "groups" else read, added)
            yield raw, activated
            buffer.append(activated)

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Split a map into this number of groups, which torch.fx cannot infer."""
        split = x.split(self.group_size, dim=1)
        return tuple(split[part] for part in range(parts))

    def extra_repr(self) -> str:
        """Show the widths and the topology."""
        return f"{self.in_channels}, {self.out_channels}, group_size={self.group_size}, topology={self.topology.name}"


def _pair(sides: Sides) -> tuple[int, int]:
    return sides if isinstance(sides, tuple) else (sides, sides)


def _not_positive(sizes: dict[str, Any]) -> Iterator[str]:
    for name, size in sizes.items():
        two = name in ("kernel_size", "dilation")
        values = size if two and isinstance(size, tuple) and len(size) == 2 else (size,)
        if not all(is_integer(value, 1) for value in values):
            yield f"{name} is {size!r}: expected an integer of at least 1" + (", or two of them" if two else "")


def _mismatches(
    sizes: dict[str, Any], windowed: bool, bottleneck: bool, drop_rate: float, dropout: str
) -> Iterator[str]:
    group_size, subgroups = sizes["group_size"], sizes["subgroups"]
    for name in ("out_channels", *(["in_channels"] if windowed else [])):
        if sizes[name] % group_size:
            yield f"{name} is {sizes[name]}: expected a multiple of group_size, {group_size}"
    if (sizes["in_channels"] + sizes["out_channels"]) // group_size > _MAX_GROUPS:
        yield f"group_size is {group_size}: expected at most {_MAX_GROUPS:,} groups of input and output channels"
    if any(side % 2 == 0 for side in _pair(sizes["kernel_size"])):
        yield f"kernel_size is {sizes['kernel_size']}: expected odd numbers"
    if subgroups > 1 and not bottleneck:
        yield f"subgroups is {subgroups}: expected 1 without bottleneck"
    if group_size % subgroups:
        yield f"subgroups is {subgroups}: expected a divisor of group_size, {group_size}"
    if not 0 <= drop_rate < 1:
        yield f"drop_rate is {drop_rate!r}: expected a number with 0 <= drop_rate < 1"
    if dropout not in get_args(Dropout):
        yield f"dropout is {dropout!r}: expected one of {', '.join(map(repr, get_args(Dropout)))}"
