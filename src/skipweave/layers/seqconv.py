"""SeqConv: a wide convolution made group by group, each group reading those before it.

Sequentially Aggregated Convolutional Networks, section 3.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skipweave import topology as patterns
from skipweave.errors import SkipweaveError
from skipweave.layers.saved_activations import norm_relu
from skipweave.ops import GrowingMap

# The links between more would not fit into memory in the dense form.
_MOST_GROUPS = 4096


class ConvUnit(nn.Module):
    """Convolution, batch norm, ReLU.

    Args:
        in_channels: Channels read.
        out_channels: Channels made.
        kernel_size: Side of the kernel, odd; the map is padded so that only the stride changes its size.
        stride: Stride of the convolution.
        dilation: Distance of the kernel's taps.
        groups: Groups of the convolution.

    Shape: (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel_size // 2)
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        return self.pair(x)[1]

    def pair(self, x: Tensor, shortcut: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the raw map, the shortcut added to it, and the activated map."""
        raw = self.conv(x)
        if shortcut is not None:
            raw = raw + shortcut
        return raw, norm_relu(self.norm, raw)


class GroupUnit(nn.Module):
    """The transformation that makes one group of a `SeqConv2d`: a convolution, or 1x1 and then that convolution ("B").

    Args:
        in_channels: Channels read.
        group_size: Channels made.
        kernel_size: Side of the kernel.
        dilation: Distance of the kernel's taps.
        bottleneck: Whether a 1x1 unit to `group_size` channels comes first.
        subgroups: Groups of the convolution.

    Shape: (N, in_channels, H, W) to a raw and an activated map (N, group_size, H, W).
    """

    def __init__(
        self,
        in_channels: int,
        group_size: int,
        kernel_size: int = 3,
        *,
        dilation: int = 1,
        bottleneck: bool = False,
        subgroups: int = 1,
    ) -> None:
        super().__init__()
        self.reduce = ConvUnit(in_channels, group_size, kernel_size=1) if bottleneck else nn.Identity()
        width = group_size if bottleneck else in_channels
        self.make = ConvUnit(width, group_size, kernel_size, dilation=dilation, groups=subgroups)

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the group's raw map, the shortcut (N, group_size, H, W) added to it, and its activated map."""
        return self.make.pair(self.reduce(x), shortcut)


class SeqConv2d(nn.Module):
    """A stride-1 convolution with batch norm and ReLU whose filters are made in groups, one after the other.

    In place of `Conv2d(in_channels, out_channels, 3, padding=1)`, `BatchNorm2d` and `ReLU`. Group i reads the input and
    the activated groups 1..i-1 (dense), or the newest in_channels of these channels (windowed: as many for every group,
    so that the weights do not grow with the number of groups). Input and groups lie side by side in one piece of
    memory, and what a group reads is a view of it. With dropout, which is drawn anew for each group and image, a
    group in training reads a copy of its own, and all of them are kept for the backward pass: a window for each group.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of all groups together, a multiple of `group_size`.
        kernel_size: Side of the kernel, odd.
        group_size: Channels of a group, the papers' k.
        windowed: Whether groups read a window; `in_channels` is then a multiple of `group_size`.
        bottleneck: Whether each group is made by a 1x1 unit and then the convolution ("-B").
        subgroups: Groups of that convolution ("SeqResNeXt"); more than 1 only with `bottleneck`.
        dilation: Distance of the kernel's taps.
        drop_rate: Channel-wise dropout of what each group reads, drawn anew for each; what later groups read is not
            touched by it.

    Attributes:
        topology: What the groups read. Its nodes are groups of channels: first those of the input, which are given
            (the whole input as one where the layer is dense), then those made.

    Raises:
        SkipweaveError: Arguments do not fit; all that do not are named.

    Shape: (N, in_channels, H, W) to (N, out_channels, H, W).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        group_size: int,
        windowed: bool = True,
        bottleneck: bool = False,
        subgroups: int = 1,
        dilation: int = 1,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = dict(
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=kernel_size,
            group_size=group_size,
            subgroups=subgroups,
            dilation=dilation,
        )
        if mistakes := [*_not_positive(sizes)] or [*_misfits(sizes, windowed, bottleneck, drop_rate)]:
            raise SkipweaveError(*mistakes)
        self.in_channels, self.out_channels, self.group_size = in_channels, out_channels, group_size
        self.windowed = windowed
        self._given = in_channels // group_size if windowed else 1
        nodes = self._given + out_channels // group_size
        self.topology = patterns.window(nodes - 1, size=self._given) if windowed else patterns.dense(nodes - 1)
        self.drop = nn.Dropout2d(drop_rate)
        self.groups = nn.ModuleList(
            GroupUnit(
                in_channels if windowed else in_channels + made * group_size,
                group_size,
                kernel_size,
                dilation=dilation,
                bottleneck=bottleneck,
                subgroups=subgroups,
            )
            for made in range(out_channels // group_size)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated groups side by side."""
        return torch.cat([activated for _, activated in self._groups(x, None)], dim=1)

    def pair(self, x: Tensor, shortcut: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the raw and the activated groups, each (N, out_channels, H, W).

        Args:
            x: The layer's activated input (N, in_channels, H, W).
            shortcut: (N, out_channels, H, W), added to the raw groups: each group gets its slice before batch norm, so
                that groups behind it read the sum.

        Raises:
            SkipweaveError: The shortcut is not of that shape.
        """
        expected = (x.shape[0], self.out_channels, *x.shape[-2:]) if isinstance(x, Tensor) else ()
        if shortcut is not None and isinstance(x, Tensor) and shortcut.shape != expected:
            raise SkipweaveError(
                f"shortcut is {tuple(shortcut.shape)} beside an input of {tuple(x.shape)}: expected {expected}"
            )
        raw, activated = zip(*self._groups(x, shortcut), strict=True)
        return torch.cat(raw, dim=1), torch.cat(activated, dim=1)

    def _groups(self, x: Tensor, shortcut: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Make group after group, raw and activated."""
        given = self._split(x, self._given) if self.windowed else (x,)
        line = GrowingMap(given, room=self.out_channels)
        added: Sequence[Tensor | None] = [None] * len(self.groups)
        if shortcut is not None:
            added = self._split(shortcut, len(self.groups))
        for node, (unit, slice_) in enumerate(zip(self.groups, added, strict=True), start=self._given):
            oldest = self.topology.sources(node)[-1]  # windowed or dense, all nodes from it on are read
            raw, activated = unit(self.drop(line.read(oldest)), slice_)
            yield raw, activated
            line.append(activated)

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Split a map by groups; how many there are is said, since torch.fx cannot count them."""
        split = x.split(self.group_size, dim=1)
        return tuple(split[part] for part in range(parts))

    def extra_repr(self) -> str:
        """Show the widths and what the groups read."""
        return f"{self.in_channels}, {self.out_channels}, group_size={self.group_size}, topology={self.topology.name}"


class RawSeqConv2d(SeqConv2d):
    """The groups of a `SeqConv2d` before their batch norms: in place of `Conv2d` alone, where others follow.

    No group reads the last one, so its batch norm has no gains and biases, which nothing would train.

    Shape: (N, in_channels, H, W) to (N, out_channels, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, **options: Any) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        *_, last = (part for part in self.modules() if isinstance(part, GroupUnit))
        last.make.norm = nn.BatchNorm2d(self.group_size, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw groups side by side."""
        return torch.cat([raw for raw, _ in self._groups(x, None)], dim=1)


def _not_positive(sizes: dict[str, int]) -> Iterator[str]:
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            yield f"{name} is {size!r}: expected a whole number of at least 1"


def _misfits(sizes: dict[str, int], windowed: bool, bottleneck: bool, drop_rate: float) -> Iterator[str]:
    group_size, subgroups = sizes["group_size"], sizes["subgroups"]
    for name in ("out_channels", *(["in_channels"] if windowed else [])):
        if sizes[name] % group_size:
            yield f"{name} is {sizes[name]}: expected a multiple of group_size, {group_size}"
    if (sizes["in_channels"] + sizes["out_channels"]) // group_size > _MOST_GROUPS:
        yield f"group_size is {group_size}: expected one that makes at most {_MOST_GROUPS:,} groups of all channels"
    if sizes["kernel_size"] % 2 == 0:
        yield f"kernel_size is {sizes['kernel_size']}: expected an odd number"
    if subgroups > 1 and not bottleneck:
        yield f"subgroups is {subgroups}: expected 1 without bottleneck"
    if group_size % subgroups:
        yield f"subgroups is {subgroups}: expected a divisor of group_size, {group_size}"
    if not 0 <= drop_rate < 1:
        yield f"drop_rate is {drop_rate!r}: expected a number with 0 <= drop_rate < 1"
