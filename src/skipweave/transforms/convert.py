"""`convert`: replace the wide 3x3 convolutions of a network by SeqConv layers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from skipweave.layers import NormLayer, RawSeqConv2d, norm_name
from skipweave.tracing.copies import copied
from skipweave.tracing.dataflow import Flow, data_flows
from skipweave.tracing.example_inputs import InputSize
from skipweave.tracing.replicas import Trials, trials_of
from skipweave.tracing.unsupported_networks import check_supported
from skipweave.transforms.attachments import attached, carry_over, listed, own_tensors
from skipweave.transforms.compression.compressed_model import count_parameters
from skipweave.transforms.verification import Reference
from skipweave_config.errors import SkipweaveError

_GROUPS = 8  # per layer, as in most of the paper's networks


@dataclass(frozen=True)
class Conversion:
    """A converted network and its report.

    Attributes:
        model: The converted network, a copy.
        replaced: Group size of each replaced layer, by name.
        kept: Why each other convolution larger than 1x1 was kept, by name.
        parameters: Number of learnable parameters before and after.
    """

    model: nn.Module
    replaced: Mapping[str, int]
    kept: Mapping[str, str]
    parameters: tuple[int, int]

    def __str__(self) -> str:
        """List the replaced and the kept convolutions, one per line."""
        before, after = self.parameters
        return "\n".join(
            [
                f"{len(self.replaced)} convolutions replaced: {before:,} parameters before, {after:,} after",
                *(f"  {name}: groups of {size}" for name, size in self.replaced.items()),
                f"{len(self.kept)} convolutions kept",
                *(f"  {name}: {reason}" for name, reason in self.kept.items()),
            ]
        )


def convert(
    model: nn.Module,
    *,
    group_size: int | None = None,
    min_width: int = 64,
    norm_layer: NormLayer = "batch",
    input_size: InputSize | None = None,
    example_inputs: Any = None,
) -> Conversion:
    """Replace the wide 3x3 convolutions of a network by windowed SeqConv layers with about as many parameters.

    A window is as wide as the layer's input, so a layer keeps its number of weights; only the norms between its
    groups are added. Each layer returns its groups before the norm: the network's own batch norm, activation and
    additions follow as before (Sequentially Aggregated Convolutional Networks, section 3). A convolution with a bias is
    replaced only if batch norms follow, which cancel any bias.

    The weights of the new layers are initialized (He, fan-out), all other weights are kept. A converted network has to
    be trained.

    Args:
        model: A network of convolutions, each followed by a batch norm, such as torchvision's or timm's ResNets. It is
            copied, not modified.
        group_size: Number of channels per group; None is an eighth of the layer's output, or the next smaller common
            divisor of its input and output.
        min_width: Minimum number of input and output channels of convolutions that are replaced.
        norm_layer: Norm of the groups, `"batch"`, `"group"` or `"layer"` (`skipweave.layers.make_norm`).
        input_size: Channels, height and width of an image for checking the result; the default is that of the model's
            `pretrained_cfg`, or 224x224 pixels.
        example_inputs: Arguments of one call, instead of a size: a tuple, a mapping of keyword arguments, or the only
            argument.

    Raises:
        SkipweaveError: A number is not a positive integer, the norm is unknown, the network is not supported, there is
            nothing to replace, or structure, shapes or data types of the outputs would change.
    """
    for name, value in (("group_size", group_size), ("min_width", min_width)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise SkipweaveError(f"{name} is {value!r}: expected an integer of at least 1")
    norm_name(norm_layer)
    check_supported(model)
    trials = trials_of(model, input_size or _usual_size(model, example_inputs), example_inputs)
    reference = Reference(model, trials, values=False)
    kept = _kept(model, trials, group_size, min_width)
    converted = copied(model)
    replaced: dict[str, int] = {}
    layers: dict[nn.Module, nn.Module] = {}  # one per convolution, which may have several names
    for name, part in list(converted.named_modules(remove_duplicate=False)):
        if isinstance(part, nn.Conv2d) and name not in kept and set(part.kernel_size) != {1}:
            replaced[name] = _group_size(part) if group_size is None else group_size
            layers[part] = layers.get(part) or carry_over(part, _layer(part, replaced[name], norm_layer))
            converted.set_submodule(name, layers[part])
    if not replaced:
        reasons = listed(kept, "none is larger than 1x1")
        raise SkipweaveError(f"the network has no convolution to replace ({reasons})")
    reference.require(converted, "the converted network", "Convert only the convolutional part of the network.")
    return Conversion(converted, replaced, kept, (count_parameters(model), count_parameters(converted)))


def _usual_size(model: nn.Module, example_inputs: Any) -> InputSize | None:
    """ImageNet's size with the channels of the first convolution, for networks without `pretrained_cfg`."""
    first = next((part for part in model.modules() if isinstance(part, nn.Conv2d)), None)
    if example_inputs is not None or first is None or getattr(model, "pretrained_cfg", None):
        return None
    return first.in_channels, 224, 224


def _kept(model: nn.Module, trials: Trials, group_size: int | None, min_width: int) -> dict[str, str]:
    """Why convolutions larger than 1x1 are kept, by name."""
    whole = lambda part: isinstance(part, _ConvNd | _BatchNorm)  # noqa: E731
    flows = (
        *data_flows(model, trials, whole, methods=("forward",)),
        *data_flows(model, trials, whole, methods=("forward",), training=True, variants=False),
    )
    norms = {name for name, part in model.named_modules() if isinstance(part, _BatchNorm)}
    special = attached(model)
    names: dict[nn.Module, str] = {}
    kept: dict[str, str] = {}
    for name, part in model.named_modules(remove_duplicate=False):
        own = names.setdefault(part, name)
        if not isinstance(part, _ConvNd) or set(part.kernel_size) == {1}:
            continue
        size = _group_size(part) if group_size is None else group_size
        if reason := special.get(own) or _why_not(part, size, min_width) if name else "it is the network itself":
            kept[name] = reason
        elif any(own in flow.shared for flow in flows):
            kept[name] = "its weight is used by more than the layer itself"
        elif part.bias is not None and not _normalized(own, flows, norms):
            kept[name] = "it has a bias that no following batch norm cancels"
    return kept


def _normalized(name: str, flows: Sequence[Flow], norms: set[str]) -> bool:
    """Whether the output of a layer is read only by batch norms."""
    made = [(flow, value) for flow in flows for step in flow.runs(name) for value in step.makes]
    readers = [reader for flow, value in made for reader in flow.readers(value)]
    return bool(readers) and all(
        [*(reader.is_module and reader.name in norms for reader in readers), *(v not in f.shown for f, v in made)]
    )


def _group_size(conv: _ConvNd) -> int:
    """The largest common divisor of input and output channels that is at most an eighth of the output, or 1."""
    common = math.gcd(conv.in_channels, conv.out_channels)
    largest = max(1, conv.out_channels // _GROUPS)
    return max(size for size in range(1, largest + 1) if common % size == 0)


def _why_not(conv: _ConvNd, group_size: int, min_width: int) -> str:
    """Reason why a convolution cannot be replaced; empty if it can."""
    if type(conv) is not nn.Conv2d:
        return f"it is a {type(conv).__name__}, not a Conv2d"
    if conv.kernel_size != (3, 3):
        return f"its kernel is {conv.kernel_size[0]}x{conv.kernel_size[1]}, not 3x3"
    if conv.stride != (1, 1):
        return "it is strided, but groups need a common resolution"
    if conv.groups != 1:
        return f"it has {conv.groups} groups already"
    if min(conv.in_channels, conv.out_channels) < min_width:
        return f"{conv.in_channels} to {conv.out_channels} channels are fewer than min_width, {min_width}"
    if own := [*own_tensors(conv), *conv._modules]:
        return f"it has additional tensors or modules ({', '.join(own)})"
    dilation = conv.dilation[0]
    if conv.dilation != (dilation, dilation) or conv.padding != (dilation, dilation) or conv.padding_mode != "zeros":
        return "its padding changes the size of the map, or is not zero padding"
    if conv.in_channels % group_size or conv.out_channels % group_size:
        return f"{conv.in_channels} to {conv.out_channels} channels are not multiples of group_size, {group_size}"
    if group_size == conv.out_channels:
        return "it would be a single group"
    return ""


def _layer(conv: nn.Conv2d, group_size: int, norm_layer: NormLayer) -> RawSeqConv2d:
    sizes = dict(group_size=group_size, dilation=conv.dilation[0])
    layer = RawSeqConv2d(conv.in_channels, conv.out_channels, norm_layer=norm_layer, **sizes)
    for part in layer.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    return layer.to(conv.weight)
