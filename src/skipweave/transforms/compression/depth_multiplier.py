"""`depth_multiplier`: scale the widths of all layers of a network by a factor."""

import math
from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from numbers import Real
from typing import Any

from torch import nn

from skipweave.tracing.channel_layers import PRODUCERS, depthwise, output_width
from skipweave.tracing.copies import copied, in_mode
from skipweave.tracing.example_inputs import InputSize
from skipweave.tracing.replicas import Trials, run, runs, shape_replica, trials_of
from skipweave.transforms.attachments import attached, own_tensors
from skipweave.transforms.compression.classifier_sizes import update_classifier_sizes
from skipweave.transforms.compression.compressed_model import CompressedModel, compare
from skipweave.transforms.compression.fixed_widths import fixed_width_layers, require_same_operations
from skipweave.transforms.compression.fully_connected import fully_connected_layers
from skipweave.transforms.compression.layer_widths import Widths, draw, input_width, resizable, resize
from skipweave.transforms.verification import Reference
from skipweave_config.errors import SkipweaveError

RULES: Mapping[str, Callable[[Fraction], int]] = {
    "floor8": lambda exact: max(8, 8 * math.floor(exact / 8)),
    "ceil": math.ceil,
}
"""Rounding of alpha times a width: as in the paper's Table 1, or as in its text."""


def depth_multiplier(
    model: nn.Module,
    alpha: float,
    *,
    rule: str = "floor8",
    input_size: InputSize | None = None,
    example_inputs: Any = None,
) -> CompressedModel:
    """Scale the widths of all layers of a network (Changpinyo et al. 2017, section 3; the paper's baseline).

    Every convolution and every hidden linear layer gets alpha times its output channels. Input widths are determined by
    a dry run on the meta device, whatever the network concatenates or adds. Layers that compute the network's outputs
    keep their width. Depthwise convolutions have the width of their input; grouped convolutions keep their groups, with
    widths rounded down to multiples of them.

    All weights are initialized from torch's default generator: convolutions as in He et al. (normal, by fan-in), others
    as torch does. Parameters keep their `requires_grad`: unfreeze them, if the given network is frozen.

    Sizes that the network stores outside its layers, such as timm's `feature_info`, do not change, except for those
    that `reset_classifier` needs: `num_features` is still the number of channels of `forward_features`, and
    `head_hidden_size` that of the classifier's input.

    Deviation: the paper's text rounds widths up, but its Table 1 follows `"floor8"` exactly.

    Args:
        model: Any network of convolutions, linear layers and normalizations. It is copied, not modified.
        alpha: Factor on the widths, above 0; costs are about proportional to its square.
        rule: `"floor8"` (default), max(8, 8 floor(alpha c / 8)), or `"ceil"`.
        input_size: Channels, height and width of an image; the default is that of the model's `pretrained_cfg`.
        example_inputs: Arguments of one call, instead of a size: a tuple, a mapping of keyword arguments, or the only
            argument.

    Raises:
        SkipweaveError: An argument is invalid; a module cannot be resized, because it has other parameters, tied
            parameters or a fixed size; or structure, shapes or data types of the outputs would change.

    >>> import torchvision
    >>> result = depth_multiplier(torchvision.models.resnet18(), 0.5, input_size=(3, 224, 224))
    >>> result.convolution_weights
    (11166912, 2794080)
    """
    check_factor(alpha, rule)
    trials = trials_of(model, input_size, example_inputs)
    check_resizable(model)
    reference = Reference(model, trials, values=False)
    factor = Fraction(str(alpha))  # exactly 0.1, not the nearest binary number

    def scaled(_: str, width: int) -> int:
        return RULES[rule](factor * width) if factor > 1 else min(width, RULES[rule](factor * width))

    widths = new_widths(model, trials, scaled, fixed_width_layers(model, trials))
    narrow = copied(model)
    resize_all(narrow, widths)
    update_classifier_sizes(model, narrow, trials)
    reference.require(narrow, "the narrow network", "A size is fixed outside its layers: make it depend on the input.")
    if trials.device == "meta":  # elsewhere operations may depend on values
        require_same_operations(model, narrow, trials)
    changes = {
        name: f"{output_width(part)} to {widths[name].outputs} channels"
        for name, part in model.named_modules()
        if isinstance(part, PRODUCERS)
    }
    dense = fully_connected_layers(model, trials)
    return compare(model, narrow, changes, trials, dense)


def check_factor(alpha: float, rule: str = "floor8", **_: object) -> None:
    """Check the arguments of `depth_multiplier` that can be checked without a network.

    Raises:
        SkipweaveError: An argument is invalid.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, Real) or not 0 < alpha < math.inf:
        raise SkipweaveError(f"alpha is {alpha!r}: expected a number above 0, such as 0.5")
    if rule not in list(RULES):
        raise SkipweaveError(f"rule is {rule!r}: expected one of {', '.join(RULES)}")


def check_resizable(model: nn.Module) -> None:
    """Check that the widths of all modules can be changed.

    Raises:
        SkipweaveError: A module has parameters of unknown width, or a layer cannot be replaced.
    """
    special = attached(model)
    for name, part in model.named_modules():
        where = f"cannot make {name or 'the network itself'} narrower"
        own = [key for key, value in part.named_parameters(recurse=False) if value.numel() > 1]
        if resizable(part):
            if name in special:
                raise SkipweaveError(f"{where}: {special[name]}")
            own = own_tensors(part)
        if isinstance(part, nn.LayerNorm) and len(part.normalized_shape) > 1:
            raise SkipweaveError(f"{where}: it normalizes over more than channels, {tuple(part.normalized_shape)}")
        if own:
            raise SkipweaveError(
                f"{where}: {type(part).__name__} has parameters of unknown width ({', '.join(own)}); for networks of "
                "skipweave, set growth or widths instead"
            )


def resize_all(model: nn.Module, widths: Mapping[str, Widths]) -> None:
    """Give layers of a network other widths in place, and initialize them."""
    for name, width in widths.items():
        part = model.get_submodule(name)
        resize(part, name, width)
        draw(part)


def new_widths(
    model: nn.Module, trials: Trials, scaled: Callable[[str, int], int], fixed: Collection[str]
) -> dict[str, Widths]:
    """Widths of every layer, by name, determined by resizing the layers of a replica while it runs.

    Args:
        model: The network; its modules have to pass `check_resizable`.
        trials: Inputs to run it with.
        scaled: New width of a layer, given its name and width.
        fixed: Names of the layers that keep their width (`fixed_width_layers`).

    Raises:
        SkipweaveError: A layer cannot have its new width.
    """
    twin = shape_replica(trials, model)
    found: dict[str, Widths] = {}

    def fit(part: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        name = names[part]
        if name not in found:
            x = args[0] if args else kwargs["input"]
            found[name] = _new_widths(part, name, input_width(part, x), scaled, keep=name in fixed)
            resize(part, name, found[name])

    names = {part: name for name, part in twin.named_modules() if resizable(part)}
    for part in names:
        part.register_forward_pre_hook(fit, with_kwargs=True)
    inputs = next(trials.here())
    trains = runs(in_mode(trials.replica(model), training=True), inputs)  # auxiliary classifiers run only then
    for training in (True, False) if trains else (False,):
        try:
            run(in_mode(twin, training=training), inputs)
        except SkipweaveError as error:
            where = " (a size is fixed in its code, there or before)" if error.__cause__ else ""
            raise SkipweaveError(f"cannot make the network narrower: {error}{where}") from error
    if unseen := names.values() - found.keys():
        mode = "" if trains else " in evaluation mode, and does not run in training mode on these inputs"
        raise SkipweaveError(f"cannot make {min(unseen)} narrower: the network does not call it as a module{mode}")
    return found


def _new_widths(part: nn.Module, name: str, inputs: int, scaled: Callable[[str, int], int], *, keep: bool) -> Widths:
    if not inputs:
        raise SkipweaveError(f"cannot make {name} narrower: it would have no input channels")
    if not isinstance(part, PRODUCERS):
        return Widths(inputs, inputs)
    width = output_width(part)
    if depthwise(part):
        assert isinstance(part.in_channels, int)
        return Widths(inputs, inputs * width // part.in_channels)
    if keep:
        return Widths(inputs, width)
    groups = 1 if isinstance(part, nn.Linear) else part.groups
    assert isinstance(groups, int)
    return Widths(inputs, max(groups, scaled(name, width) // groups * groups))
