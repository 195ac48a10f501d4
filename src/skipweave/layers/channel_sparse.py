"""`ChannelSparseConv2d`: a convolution in which each output channel reads few input channels."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipweave.ops import channel_sparse_conv2d, dense_weight
from skipweave.topology import channel_patterns
from skipweave.topology.channel_patterns import ChannelPattern, Choice, PatternName
from skipweave_config.errors import SkipweaveError
from skipweave_config.integers import is_integer

torch.fx.wrap("channel_sparse_conv2d")  # a single node in traced graphs, so that they choose the implementation

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
_PADDING_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


class ChannelSparseConv2d(nn.Module):
    """A convolution in which each output channel reads few input channels, with the whole kernel of each.

    "The Power of Sparsity in Convolutional Neural Networks" (Changpinyo et al. 2017), section 3. The pattern is drawn
    once and is the same at every position. Only the weights of existing links are stored, with their input channels as
    `index`.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        kernel_size: Height and width of the kernel, or one number for both.
        stride: Stride, one or two numbers.
        padding: Zeros on each side, one or two numbers; or "same" (stride 1 only) or "valid".
        dilation: Dilation, one or two numbers.
        bias: Whether to add a learnable bias.
        padding_mode: "zeros", "reflect", "replicate" or "circular", as in `torch.nn.Conv2d`.
        density: Fraction of the inputs that each output reads: max(1, ceil(density * in_channels)). The default is 0.1,
            unless `fan_in` or a `ChannelPattern` is given.
        fan_in: Number of inputs that each output reads, instead of a density.
        pattern: "exact" (separate inputs for every output), "block" (blocks of outputs share their inputs), "grouped"
            (a grouped convolution after a permutation, with at least the given fan-in), or a `ChannelPattern`.
        choice: "balanced" or "uniform", see `skipweave.topology.channel_patterns.exact`.
        block: Outputs per block, for "block"; None is the largest number that leaves no input unread.
        seed: Seed of the pattern; None draws one from torch's default generator.
        device: Device of weight, bias and index.
        dtype: Data type of weight and bias.

    Attributes:
        weight: (out_channels, fan_in, kh, kw), He initialization by fan-in (fan_in * kh * kw).
        bias: (out_channels,), initialized to zeros; or None.
        index: Buffer (out_channels / block, fan_in), int32: input channels of each block of outputs, ascending.
        seed: Seed from which the pattern was drawn; None if it was given.

    Raises:
        SkipweaveError: Arguments are invalid.

    Shape: (N, in_channels, H, W), or without N, to (N, out_channels, H', W'), as in `torch.nn.Conv2d`.

    Inputs must be finite. NaN or infinity in a channel reaches every output that reads it. Outputs that do not read it
    become NaN as well if the dense implementation runs (0 * NaN is NaN), and are unaffected if the C library or a
    Triton kernel runs.

    Example::

        layer = ChannelSparseConv2d(256, 256, 3, padding=1, bias=False, density=0.1, seed=1)
        assert layer.weight.shape == (256, 26, 3, 3)
    """

    index: Tensor
    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        *,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        density: float | None = None,
        fan_in: int | None = None,
        pattern: PatternName | ChannelPattern = "exact",
        choice: Choice = "balanced",
        block: int | None = None,
        seed: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = _pair("kernel_size", kernel_size, least=1)
        self.stride = _pair("stride", stride, least=1)
        self.dilation = _pair("dilation", dilation, least=1)
        self._sides = _sides(padding, self.kernel_size, self.stride, self.dilation)
        self.padding = padding if isinstance(padding, str) else _pair("padding", padding, least=0)
        if padding_mode not in _PADDING_MODES:
            raise SkipweaveError(f"padding_mode is {padding_mode!r}: expected one of {', '.join(_PADDING_MODES)}")
        self.padding_mode = padding_mode

        if isinstance(pattern, ChannelPattern):
            self.seed, drawn = None, _given(pattern, in_channels, out_channels, density, fan_in, block, seed)
        else:
            self.seed = int(torch.randint(2**31, (), device="cpu")) if seed is None else seed
            reads = _fan_in(density, fan_in, in_channels)
            drawn = channel_patterns.draw(
                pattern, in_channels, out_channels, reads, choice=choice, block=block, seed=self.seed
            )
        self.pattern_name = "given" if isinstance(pattern, ChannelPattern) else pattern
        self.register_buffer("index", torch.tensor(drawn.sources, device=device))
        self.weight = nn.Parameter(
            torch.empty(out_channels, drawn.fan_in, *self.kernel_size, device=device, dtype=dtype)
        )
        self.register_parameter(
            "bias", nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        )
        self.reset_parameters()

    @classmethod
    def from_dense(cls, conv: nn.Conv2d, *, carry_weights: bool = True, **options: Any) -> "ChannelSparseConv2d":
        """Create a sparse layer from a dense convolution.

        Args:
            conv: Convolution with one group. It is not modified.
            carry_weights: Whether to copy the bias and the weights of the remaining links, or to initialize new ones.
            **options: `density`, `fan_in`, `pattern`, `choice`, `block`, `seed`.

        Raises:
            SkipweaveError: The convolution has several groups, or the options are invalid.
        """
        if conv.groups != 1:
            raise SkipweaveError(f"groups of the convolution is {conv.groups}: expected 1")
        layer = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            bias=conv.bias is not None,
            padding_mode=conv.padding_mode,
            device=conv.weight.device,
            dtype=conv.weight.dtype,
            **options,
        ).train(conv.training)
        if carry_weights:
            with torch.no_grad():
                places = layer.outputs_index().long()[:, :, None, None].expand_as(layer.weight)
                layer.weight.copy_(conv.weight.gather(1, places))
                if layer.bias is not None and conv.bias is not None:
                    layer.bias.copy_(conv.bias)
        return layer

    def to_dense(self) -> nn.Conv2d:
        """Create the dense convolution that computes the same function, with zero weights where no link exists."""
        conv = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            bias=self.bias is not None,
            padding_mode=self.padding_mode,
            device=self.weight.device,
            dtype=self.weight.dtype,
        ).train(self.training)
        with torch.no_grad():
            conv.weight.copy_(dense_weight(self.weight, self.index, self.in_channels))
            if self.bias is not None and conv.bias is not None:
                conv.bias.copy_(self.bias)
        return conv

    def reset_parameters(self) -> None:
        """Initialize the weight, normal with variance 2 / (fan_in * kh * kw) (He et al. 2015), and the bias, zero."""
        nn.init.normal_(self.weight, std=math.sqrt(2 / math.prod(self.weight.shape[1:])))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @property
    def fan_in(self) -> int:
        """Input channels that each output reads."""
        return self.weight.shape[1]

    @property
    def block(self) -> int:
        """Number of consecutive outputs that share their inputs."""
        return self.out_channels // self.index.shape[0]

    @property
    def pattern(self) -> ChannelPattern:
        """The pattern as plain data."""
        return ChannelPattern(self.in_channels, self.out_channels, self.index.cpu().numpy())

    def outputs_index(self) -> Tensor:
        """Input channels of each output, (out_channels, fan_in), int32: `index` with one row per output."""
        return self.index.repeat_interleave(self.block, dim=0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved map."""
        if isinstance(x, Tensor):  # torch.fx traces with proxies, which have no shape
            if x.dim() == 3:
                return self.forward(x[None])[0]
            if x.dim() != 4 or x.shape[1] != self.in_channels:
                raise SkipweaveError(f"input has shape {tuple(x.shape)}: expected (N, {self.in_channels}, H, W)")
        top, bottom, left, right = self._sides
        padding = (top, left)
        if self.padding_mode != "zeros" or (top, left) != (bottom, right):
            x = F.pad(x, (left, right, top, bottom), mode=_PADDING_MODES[self.padding_mode])
            padding = (0, 0)
        return channel_sparse_conv2d(x, self.weight, self.index, self.bias, self.stride, padding, self.dilation)

    def extra_repr(self) -> str:
        """Show widths, kernel and pattern."""
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        for name, usual in (("padding", (0, 0)), ("dilation", (1, 1)), ("padding_mode", "zeros")):
            if getattr(self, name) != usual:
                parts.append(f"{name}={getattr(self, name)!r}")
        if self.bias is None:
            parts.append("bias=False")
        parts.append(f"fan_in={self.fan_in}, pattern={self.pattern_name!r}")
        if self.block > 1:
            parts.append(f"block={self.block}")
        if self.seed is not None:
            parts.append(f"seed={self.seed}")
        return ", ".join(parts)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Check that the loaded index is a valid pattern for this layer."""
        index = state_dict.get(f"{prefix}index")
        if isinstance(index, Tensor) and not index.is_meta and index.shape == self.index.shape:
            if index.dtype != torch.int32:
                raise SkipweaveError(f"{prefix}index has dtype {index.dtype}: expected torch.int32")
            ChannelPattern(self.in_channels, self.out_channels, index.cpu().numpy())  # raises if invalid
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _pair(name: str, value: int | tuple[int, int], least: int) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, Iterable) else (value, value)
    if len(pair) != 2 or not all(is_integer(side, least) for side in pair):
        raise SkipweaveError(f"{name} is {value!r}: expected one or two integers of at least {least}")
    return pair[0], pair[1]


def _sides(
    padding: int | tuple[int, int] | str, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Padding above, below, left and right; if the sum is odd, one more below and right, as in torch."""
    if not isinstance(padding, str):
        height, width = _pair("padding", padding, least=0)
        return height, height, width, width
    if padding == "valid":
        return 0, 0, 0, 0
    if padding != "same" or stride != (1, 1):
        raise SkipweaveError(
            f"padding is {padding!r} with stride {stride}: expected numbers, 'valid', or 'same' with stride 1"
        )
    height, width = (step * (size - 1) for step, size in zip(dilation, kernel, strict=True))
    return height // 2, height - height // 2, width // 2, width - width // 2


def _fan_in(density: float | None, fan_in: int | None, in_channels: int) -> int:
    if density is not None and fan_in is not None:
        raise SkipweaveError(f"density is {density!r} and fan_in is {fan_in!r}: expected only one of them")
    if fan_in is not None:
        return fan_in
    return channel_patterns.fan_in_of(0.1 if density is None else density, in_channels)


def _given(pattern: ChannelPattern, in_channels: int, out_channels: int, *options: Any) -> ChannelPattern:
    if any(option is not None for option in options):
        raise SkipweaveError("pattern is a ChannelPattern: expected no density, fan_in, block or seed with it")
    if (pattern.in_channels, pattern.out_channels) != (in_channels, out_channels):
        raise SkipweaveError(
            f"pattern has {pattern.in_channels} input and {pattern.out_channels} output channels: "
            f"expected {in_channels} and {out_channels}"
        )
    return pattern
