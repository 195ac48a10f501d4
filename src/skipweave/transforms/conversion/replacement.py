"""`Replacement`: which convolutions SeqConv layers can replace, and with which layers."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from torch import nn
from torch.nn.modules.conv import _ConvNd

from skipweave.layers import Dropout, GroupUnit, NormLayer, RawDownsampling, RawSeqConv2d, Sides, norm_name
from skipweave.tracing.channel_layers import depthwise
from skipweave.transforms.argument_checks import wrong_flags
from skipweave.transforms.attachments import own_tensors
from skipweave_config.errors import SkipweaveError
from skipweave_config.integers import is_integer

_GROUPS = 8  # per layer, as in most of the paper's networks


@dataclass(frozen=True)
class Replacement:
    """The arguments of `convert` that determine what is replaced by what; see there.

    Raises:
        SkipweaveError: Arguments are invalid; names all of them.
    """

    group_size: int | None
    min_width: int
    kernel_sizes: Sequence[Sides] | None
    windowed: bool
    bottleneck: bool
    subgroups: int | None
    strided: bool
    drop_rate: float
    dropout: Dropout
    norm_layer: NormLayer

    def __post_init__(self) -> None:
        if problems := [*self._problems()]:
            raise SkipweaveError(*problems)

    def _problems(self) -> Iterator[str]:
        for name in ("group_size", "min_width", "subgroups"):
            value = getattr(self, name)
            if (value is not None or name == "min_width") and not is_integer(value, 1):
                yield f"{name} is {value!r}: expected an integer of at least 1"
        yield from wrong_flags(windowed=self.windowed, bottleneck=self.bottleneck, strided=self.strided)
        sizes = self.kernel_sizes
        if sizes is not None and not (isinstance(sizes, Sequence) and sizes and all(map(_is_kernel, sizes))):
            yield f"kernel_sizes is {sizes!r}: expected None, or a list of odd numbers and pairs, such as [3, (1, 7)]"
        if is_integer(self.subgroups, 1) and self.subgroups != 1 and not self.bottleneck:
            yield f"subgroups is {self.subgroups}: expected 1 without bottleneck"
        number = isinstance(self.drop_rate, int | float) and not isinstance(self.drop_rate, bool)
        if not number or not 0 <= self.drop_rate < 1:
            yield f"drop_rate is {self.drop_rate!r}: expected a number with 0 <= drop_rate < 1"
        if self.dropout not in get_args(Dropout):
            yield f"dropout is {self.dropout!r}: expected one of {', '.join(map(repr, get_args(Dropout)))}"
        try:
            norm_name(self.norm_layer)
        except SkipweaveError as error:
            yield str(error)

    @property
    def _kernels(self) -> set[tuple[int, int]] | None:
        """Heights and widths of the kernels to replace; None for all that are larger than 1x1."""
        if self.kernel_sizes is None:
            return None
        return {size if isinstance(size, tuple) else (size, size) for size in self.kernel_sizes}

    def concerns(self, conv: _ConvNd) -> bool:
        """Whether a convolution is larger than 1x1, or of a kernel size to replace."""
        return set(conv.kernel_size) != {1} or conv.kernel_size in (self._kernels or ())

    def size_of(self, conv: _ConvNd) -> int:
        """Number of channels per group of the layer that replaces a convolution."""
        if self.group_size is not None:
            return self.group_size
        if conv.groups > 1 and self.subgroups is None:
            units = min((n for n in range(2, conv.groups + 1) if conv.groups % n == 0), key=lambda n: abs(n - _GROUPS))
            return conv.out_channels // units
        reads_groups = self.windowed or (conv.stride != (1, 1) and conv.out_channels > conv.in_channels)
        common = math.gcd(conv.in_channels, conv.out_channels) if reads_groups else conv.out_channels
        largest, step = max(1, conv.out_channels // _GROUPS), self.subgroups or 1
        sizes = [size for size in range(1, largest + 1) if common % size == 0]
        return max([size for size in sizes if size % step == 0] or sizes)

    def _subgroups_of(self, conv: _ConvNd) -> int:
        """Groups of the convolution within each group; by default a layer has as many in total as the convolution."""
        if self.subgroups is not None or conv.groups == 1:
            return self.subgroups or 1
        return max(1, conv.groups // (conv.out_channels // self.size_of(conv)))

    def why_not(self, conv: _ConvNd, *, any_width: bool = False) -> str:
        """Reason why a convolution cannot be replaced; empty if it can. `any_width` ignores `min_width`."""
        if type(conv) is not nn.Conv2d:
            return f"it is a {type(conv).__name__}, not a Conv2d"
        if problem := self._kernel_problem(conv) or self._own_problem(conv):
            return problem
        if not any_width and min(conv.in_channels, conv.out_channels) < self.min_width:
            return f"{_widths(conv)} are fewer than min_width, {self.min_width}"
        return self._group_problem(conv)

    def _kernel_problem(self, conv: nn.Conv2d) -> str:
        kernel = "x".join(map(str, conv.kernel_size))
        if self._kernels is not None and conv.kernel_size not in self._kernels:
            return f"its kernel is {kernel}, not {' or '.join(f'{h}x{w}' for h, w in sorted(self._kernels))}"
        if any(side % 2 == 0 for side in conv.kernel_size):
            return f"its kernel is {kernel}: expected odd sides"
        if conv.stride != (1, 1):
            return "" if self.strided else "it is strided, but groups need a common resolution (unless strided=True)"
        if conv.padding_mode != "zeros":
            return f"its padding is {conv.padding_mode}, not zeros"
        same = tuple(d * (side // 2) for d, side in zip(conv.dilation, conv.kernel_size, strict=True))
        keeps_size = conv.padding == "same" or conv.padding == same
        return "" if keeps_size else "its padding changes the size of the map"

    def _own_problem(self, conv: nn.Conv2d) -> str:
        if depthwise(conv):
            return "it is depthwise"
        if conv.groups > 1 and not self.bottleneck:
            return f"it has {conv.groups} groups (which bottleneck=True would make subgroups)"
        if own := [*own_tensors(conv), *conv._modules]:
            return f"it has additional tensors or modules ({', '.join(own)})"
        return ""

    def _group_problem(self, conv: nn.Conv2d) -> str:
        size, more = self.size_of(conv), conv.out_channels - conv.in_channels
        extends = conv.stride != (1, 1) and more > 0
        widths = [conv.out_channels, *([conv.in_channels] if self.windowed or extends else [])]
        if any(width % size for width in widths):
            return f"{_widths(conv)} are not multiples of group_size, {size}"
        if size == conv.out_channels:
            return "it would be a single group"
        subgroups, units = self._subgroups_of(conv), conv.out_channels // size
        if size % subgroups:
            return f"its groups of {size} channels cannot be divided into {subgroups} subgroups"
        if self.subgroups is None and conv.groups > 1 and subgroups * units != conv.groups:
            return f"its {conv.groups} groups cannot be divided among {units} groups of {size} channels"
        return ""

    def layer(self, conv: nn.Conv2d) -> nn.Module:
        """Create the layer that replaces a convolution: weights as in He et al. (normal, by fan-out), its bias kept."""
        options: dict[str, Any] = dict(
            in_channels=conv.in_channels,
            out_channels=conv.out_channels,
            kernel_size=conv.kernel_size,
            group_size=self.size_of(conv),
            windowed=self.windowed,
            bottleneck=self.bottleneck,
            subgroups=self._subgroups_of(conv),
            dilation=conv.dilation,
            bias=conv.bias is not None,
            drop_rate=self.drop_rate,
            dropout=self.dropout,
            norm_layer=self.norm_layer,
        )
        if conv.stride == (1, 1):
            layer: nn.Module = RawSeqConv2d(**options)
        else:
            options |= dict(stride=conv.stride, padding=conv.padding, padding_mode=conv.padding_mode)
            layer = RawDownsampling(**options)
        for part in layer.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        layer = layer.to(conv.weight)
        if conv.bias is not None:
            _output_bias(layer).data.copy_(conv.bias.detach())
        return layer


def set_zero(layer: nn.Module) -> None:
    """Set the weights and the bias of a layer that compute its output to zero, so that it returns zeros."""
    if (bias := _output_bias(layer)) is not None:
        nn.init.zeros_(bias)
    if isinstance(layer, RawDownsampling):
        nn.init.zeros_(layer.downsize.weight)
        return
    for group in layer.modules():
        if isinstance(group, GroupUnit):
            nn.init.zeros_(group.make.conv.weight)


def _output_bias(layer: nn.Module) -> Any:
    """The bias that a layer adds to its output; None if it has none."""
    return layer.downsize.bias if isinstance(layer, RawDownsampling) else layer.bias


def _widths(conv: nn.Conv2d) -> str:
    return f"{conv.in_channels} to {conv.out_channels} channels"


def _is_kernel(size: object) -> bool:
    sides = size if isinstance(size, tuple) and len(size) == 2 else (size,)
    return all(is_integer(side, 1) and side % 2 == 1 for side in sides)
