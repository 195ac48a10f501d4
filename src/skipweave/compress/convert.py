"""`convert`: the wide 3x3 convolutions of a given network become SeqConv layers."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from skipweave.errors import SkipweaveError
from skipweave.layers import RawSeqConv2d

_GROUPS = 8  # of a layer, as in most of the paper's networks


@dataclass(frozen=True)
class Conversion:
    """A converted network and what was done to it.

    Attributes:
        model: The converted network, a copy.
        replaced: Group size of each layer that was replaced, by its name.
        kept: Why each other convolution that sees more than one pixel was not, by its name.
        parameters: Learnable parameters of the network before and after.
    """

    model: nn.Module
    replaced: Mapping[str, int]
    kept: Mapping[str, str]
    parameters: tuple[int, int]

    def __str__(self) -> str:
        """Say what was replaced, what was not and why, a line each."""
        before, after = self.parameters
        return "\n".join(
            [
                f"{len(self.replaced)} convolutions replaced: {before:,} parameters before, {after:,} after",
                *(f"  {name}: groups of {size}" for name, size in self.replaced.items()),
                f"{len(self.kept)} convolutions kept",
                *(f"  {name}: {reason}" for name, reason in self.kept.items()),
            ]
        )


def convert(model: nn.Module, *, group_size: int | None = None, min_width: int = 64) -> Conversion:
    """Replace the wide 3x3 convolutions of a network by windowed SeqConv layers of about as many parameters.

    A window is as wide as the layer's input, so a layer of the same channels has the same weights in number; what is
    added are the batch norms between its groups. Each layer gives its groups before their batch norm: the network's own
    batch norm, activation and additions follow as before (Sequentially Aggregated Convolutional Networks, section 3).

    The new layers' weights are drawn anew (He, fan-out); everything else keeps its own. So a converted network has to
    be trained, whatever it knew before.

    Args:
        model: A network of convolutions, each followed by a batch norm, such as torchvision's or timm's ResNets. It is
            copied, not changed.
        group_size: Channels of a group; None is an eighth of the layer's output, or the next smaller divisor of its
            input and output.
        min_width: Least channels, of input and of output, of what counts as wide.

    Raises:
        SkipweaveError: An argument is not a positive whole number, or there is nothing to replace.
    """
    for name, value in (("group_size", group_size), ("min_width", min_width)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise SkipweaveError(f"{name} is {value!r}: expected a whole number of at least 1")
    converted = copy.deepcopy(model)
    replaced: dict[str, int] = {}
    kept: dict[str, str] = {}
    layers: dict[nn.Module, RawSeqConv2d] = {}  # one for each convolution, however many names it has
    for name, part in model.named_modules(remove_duplicate=False):
        if not isinstance(part, nn.Conv2d) or set(part.kernel_size) == {1}:
            continue
        size = _group_size(part) if group_size is None else group_size
        if reason := _why_not(part, size, min_width) if name else "it is the network itself":
            kept[name] = reason
        else:
            layers[part] = layers.get(part) or _layer(part, size)
            _put(converted, name, layers[part])
            replaced[name] = size
    if not replaced:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in kept.items()) or "none sees more than one pixel"
        raise SkipweaveError(f"the network has no convolution to replace ({reasons})")
    return Conversion(converted, replaced, kept, (_parameters(model), _parameters(converted)))


def _group_size(conv: nn.Conv2d) -> int:
    """Return the largest common divisor of input and output that is at most an eighth of the output, or 1."""
    common = math.gcd(conv.in_channels, conv.out_channels)
    most = max(1, conv.out_channels // _GROUPS)
    return max(size for size in range(1, most + 1) if common % size == 0)


def _why_not(conv: nn.Conv2d, group_size: int, min_width: int) -> str:
    """Say in words why a convolution cannot be replaced; empty where it can."""
    dilation = conv.dilation[0]
    if type(conv) is not nn.Conv2d:
        return f"it is a {type(conv).__name__}, not a Conv2d"
    if conv.kernel_size != (3, 3):
        return f"its kernel is {conv.kernel_size[0]}x{conv.kernel_size[1]}, not 3x3"
    if conv.stride != (1, 1):
        return "it has a stride: groups read one another at one resolution"
    if conv.groups != 1:
        return f"it has {conv.groups} groups already"
    if min(conv.in_channels, conv.out_channels) < min_width:
        return f"{conv.in_channels} to {conv.out_channels} channels are not wide: fewer than {min_width}"
    if conv.bias is not None:
        return "it has a bias, so no batch norm of its own follows"
    if conv.dilation != (dilation, dilation) or conv.padding != (dilation, dilation) or conv.padding_mode != "zeros":
        return "its padding changes the size of the map, or is not zeros"
    if conv.in_channels % group_size or conv.out_channels % group_size:
        return f"{conv.in_channels} to {conv.out_channels} channels are no multiples of group_size, {group_size}"
    if group_size == conv.out_channels:
        return "it would be a single group"
    return ""


def _layer(conv: nn.Conv2d, group_size: int) -> RawSeqConv2d:
    layer = RawSeqConv2d(conv.in_channels, conv.out_channels, group_size=group_size, dilation=conv.dilation[0])
    for part in layer.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    return layer.to(conv.weight).train(conv.training)


def _put(model: nn.Module, name: str, layer: nn.Module) -> None:
    owner, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(owner), attribute, layer)


def _parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
