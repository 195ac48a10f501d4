"""`convert`: replace convolutions of a network by SeqConv layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.nn.modules.conv import _ConvNd

from skipweave.layers import Dropout, NormLayer, Sides
from skipweave.tracing.channel_layers import PRODUCERS
from skipweave.tracing.copies import copied
from skipweave.tracing.dataflow import Flow, data_flows
from skipweave.tracing.example_inputs import InputSize
from skipweave.tracing.replicas import Trials, trials_of
from skipweave.tracing.unsupported_networks import check_supported
from skipweave.transforms.argument_checks import check_flags
from skipweave.transforms.attachments import attached, carry_over, listed
from skipweave.transforms.compression.compressed_model import count_parameters
from skipweave.transforms.conversion.linear_paths import ends_residual_branch, is_norm, unnormalized
from skipweave.transforms.conversion.replacement import Replacement, set_zero
from skipweave.transforms.conversion.target_size import check_target, scaled_to
from skipweave.transforms.verification import Reference
from skipweave_config.errors import SkipweaveError


@dataclass(frozen=True)
class Conversion:
    """A converted network and its report.

    Attributes:
        model: The converted network, a copy.
        replaced: Group size of each replaced layer, by name.
        kept: Why each other convolution larger than 1x1 was kept, by name.
        parameters: Number of learnable parameters before and after.
        zeros: Names of the replaced layers that return zeros at first, so that their residual blocks are the identity.
        width_factor: Factor on the widths of all layers, for a given number of parameters.
    """

    model: nn.Module
    replaced: Mapping[str, int]
    kept: Mapping[str, str]
    parameters: tuple[int, int]
    zeros: tuple[str, ...] = ()
    width_factor: float = 1.0

    def __str__(self) -> str:
        """List the replaced and the kept convolutions, one per line."""
        before, after = self.parameters
        scaled = f", all widths times {self.width_factor:.4g}" if self.width_factor != 1 else ""
        return "\n".join(
            [
                f"{len(self.replaced)} convolutions replaced: {before:,} parameters before, {after:,} after{scaled}",
                *(
                    f"  {name}: groups of {size}{', initially zero' if name in self.zeros else ''}"
                    for name, size in self.replaced.items()
                ),
                f"{len(self.kept)} convolutions kept",
                *(f"  {name}: {reason}" for name, reason in self.kept.items()),
            ]
        )


def convert(
    model: nn.Module,
    *,
    group_size: int | None = None,
    min_width: int = 64,
    kernel_sizes: Sequence[Sides] | None = (3,),
    windowed: bool = True,
    bottleneck: bool = False,
    subgroups: int | None = None,
    strided: bool = False,
    drop_rate: float = 0.0,
    dropout: Dropout = "groups",
    zero_init: bool = False,
    parameters: int | Literal["equal"] | None = None,
    norm_layer: NormLayer = "batch",
    input_size: InputSize | None = None,
    example_inputs: Any = None,
) -> Conversion:
    """Replace convolutions of a network by SeqConv layers (Sequentially Aggregated Convolutional Networks, section 3).

    Each layer returns its groups before the norm: the network's own norm, activation and additions follow as before. A
    convolution is replaced if a norm follows it, directly or after linear operations such as additions; a bias is kept.

    By default the 3x3 convolutions are replaced by windowed layers, whose windows are as wide as the input, so that a
    layer keeps its number of weights; only the norms between its groups are added. Other forms have other numbers of
    weights; `parameters` changes the width of the network so that the total is about equal to a given one.

    The weights of the new layers are initialized (He, fan-out), all other weights are kept, as are the biases of the
    replaced convolutions (0 in layers of `zero_init`). A converted network has to be trained. New parameters have the
    `requires_grad` of those that they replace: unfreeze them, if the given network is frozen.

    Args:
        model: A network of convolutions, each followed by a norm, such as torchvision's or timm's ResNets. It is
            copied, not modified.
        group_size: Number of channels per group; None is an eighth of the layer's output, or the next smaller common
            divisor of its input and output (of the output, if dense). The layer of a grouped convolution has the number
            of groups nearest to eight that divides the convolution's.
        min_width: Minimum number of input and output channels of convolutions that are replaced.
        kernel_sizes: Sides of the kernels that are replaced, odd: numbers, or pairs of height and width
            (`[3, 5, (1, 7), (7, 1)]`); None is all that are larger than 1x1.
        windowed: Whether groups read the newest channels, as many as the input has, instead of all ("dense").
        bottleneck: Whether a 1x1 convolution precedes the convolution of each group ("-B").
        subgroups: Groups of that convolution ("SeqResNeXt"), only with `bottleneck`. By default 1, and for a grouped
            convolution as many as keep its total number of groups; without `bottleneck` these are kept.
        strided: Whether strided convolutions are replaced as well, by the paper's down-sampling blocks: a SeqConv layer
            at the input's resolution, then a strided grouped convolution.
        drop_rate: Dropout rate in the layers.
        dropout: What is dropped: channels of the input of each group (`"groups"`), or elements of the layer's input
            (`"layer"`); see `SeqConv2d`.
        zero_init: Whether layers that end a residual branch are zero at first, so that their blocks are the identity,
            as in the paper. Blocks whose branch ends in another layer, such as ResNet's bottlenecks, do not change, nor
            do those with parallel convolutions, such as RepVGG's.
        parameters: Number of learnable parameters of the converted network, or `"equal"` for that of the given one.
            The widths of all layers are scaled by one factor and rounded to multiples of 8 (of `group_size`, if
            given), such that the number is close to it: usually within 1 %, within 2 % where strided bottlenecks leave
            few widths to choose from. All weights are initialized as by `depth_multiplier`. By default widths do not
            change.
        norm_layer: Norm of the groups, `"batch"`, `"group"` or `"layer"` (`skipweave.layers.make_norm`).
        input_size: Channels, height and width of an image for checking the result; the default is that of the model's
            `pretrained_cfg`, or 224x224 pixels.
        example_inputs: Arguments of one call, instead of a size: a tuple, a mapping of keyword arguments, or the only
            argument.

    Raises:
        SkipweaveError: Arguments are invalid, the network is not supported, there is nothing to replace, widths cannot
            be scaled, or structure, shapes or data types of the outputs would change.
    """
    form = Replacement(
        group_size=group_size,
        min_width=min_width,
        kernel_sizes=kernel_sizes,
        windowed=windowed,
        bottleneck=bottleneck,
        subgroups=subgroups,
        strided=strided,
        drop_rate=drop_rate,
        dropout=dropout,
        norm_layer=norm_layer,
    )
    check_flags(zero_init=zero_init)
    check_target(parameters)
    check_supported(model)
    trials = trials_of(model, input_size or _usual_size(model, example_inputs), example_inputs)
    reference = Reference(model, trials, values=False)
    plan = _plan(model, trials, form, zero_init=zero_init)
    factor, scaled = 1.0, model
    if parameters is not None:
        target = count_parameters(model) if parameters == "equal" else parameters
        factor, scaled = scaled_to(
            target, model, trials, group_size or 8, lambda resized: count_parameters(_replace(resized, form, plan)[0])
        )
    converted, replaced = _replace(copied(scaled), form, plan)
    reference.require(converted, "the converted network", "Convert only the convolutional part of the network.")
    counts = count_parameters(model), count_parameters(converted)
    return Conversion(converted, replaced, plan.kept, counts, plan.zeros, factor)


@dataclass(frozen=True)
class _Plan:
    """Names of the convolutions to replace, and of those among them that are zero at first; why others are kept."""

    replaced: tuple[str, ...]
    kept: Mapping[str, str]
    zeros: tuple[str, ...]


def _usual_size(model: nn.Module, example_inputs: Any) -> InputSize | None:
    """ImageNet's size with the channels of the first convolution, for networks without `pretrained_cfg`."""
    first = next((part for part in model.modules() if isinstance(part, nn.Conv2d)), None)
    if example_inputs is not None or first is None or getattr(model, "pretrained_cfg", None):
        return None
    return first.in_channels, 224, 224


def _plan(model: nn.Module, trials: Trials, form: Replacement, *, zero_init: bool) -> _Plan:
    """Decide which convolutions are replaced.

    Raises:
        SkipweaveError: There are none.
    """
    norms = {name: part for name, part in model.named_modules() if is_norm(part)}
    whole = lambda part: isinstance(part, PRODUCERS) or is_norm(part)  # noqa: E731
    flows = data_flows(model, trials, whole, methods=("forward",))
    training = data_flows(model, trials, whole, methods=("forward",), training=True, variants=False)
    special = attached(model)
    owners: dict[nn.Module, str] = {}  # the first name of a convolution, which may have several
    replaced: dict[str, str] = {}
    kept: dict[str, str] = {}
    for name, part in model.named_modules(remove_duplicate=False):
        own = owners.setdefault(part, name)
        if not isinstance(part, _ConvNd) or not form.concerns(part):
            continue
        reason = (special.get(own) or form.why_not(part)) if name else "it is in no module that it could be replaced in"
        if not reason and any(own in flow.shared for flow in (*flows, *training)):
            reason = "its weight is used by more than the layer itself"
        if reason := reason or unnormalized(own, _running(own, flows) or _running(own, training), norms.keys()):
            kept[name] = reason
        else:
            replaced[name] = own
    if not replaced:
        reasons = listed(kept, "none is larger than 1x1")
        raise SkipweaveError(f"the network has no convolution to replace ({reasons})")
    inactive = {name for name, part in norms.items() if isinstance(getattr(part, "act", None), nn.Identity | None)}
    zeros = [
        name
        for name, own in replaced.items()
        if zero_init
        and any(ends_residual_branch(own, flow, inactive, {*replaced.values()}) for flow in _running(own, flows)[:1])
    ]
    return _Plan(tuple(replaced), kept, tuple(zeros))


def _running(name: str, flows: Sequence[Flow]) -> list[Flow]:
    """The flows in which a layer runs."""
    return [flow for flow in flows if flow.runs(name)]


def _replace(model: nn.Module, form: Replacement, plan: _Plan) -> tuple[nn.Module, dict[str, int]]:
    """Replace convolutions in place; return the network and the group size of each layer.

    Raises:
        SkipweaveError: A convolution cannot be replaced, because its width was scaled.
    """
    sizes: dict[str, int] = {}
    layers: dict[nn.Module, nn.Module] = {}  # one per convolution, which may have several names
    parts = {name: model.get_submodule(name) for name in plan.replaced}
    for name, part in parts.items():
        assert isinstance(part, nn.Conv2d)
        if reason := form.why_not(part, any_width=True):
            raise SkipweaveError(f"cannot replace {name} after scaling its width: {reason}")
        sizes[name] = form.size_of(part)
        if part not in layers:
            layers[part] = carry_over(part, form.layer(part))
            if name in plan.zeros:
                set_zero(layers[part])
        model.set_submodule(name, layers[part])
    return model, sizes
