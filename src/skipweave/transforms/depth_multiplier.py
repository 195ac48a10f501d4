"""`depth_multiplier`: a given network with every layer narrower by one factor."""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from numbers import Real
from typing import Any

from torch import nn

from skipweave.errors import SkipweaveError
from skipweave.layers import Head
from skipweave.tracing.channel_layers import MAKERS, depthwise, output_width
from skipweave.tracing.copies import copied, in_mode
from skipweave.tracing.example_inputs import InputSize
from skipweave.tracing.replicas import Trials, run, runs, shape_twin, trials_of
from skipweave.transforms.attachments import attached, own_tensors
from skipweave.transforms.fixed_widths import kept_layers, require_same_way
from skipweave.transforms.layer_widths import Widths, draw, input_width, resizable, resize
from skipweave.transforms.transform_report import Thinned, thinned
from skipweave.transforms.verification import Reference

RULES: Mapping[str, Callable[[Fraction], int]] = {
    "floor8": lambda exact: max(8, 8 * math.floor(exact / 8)),
    "ceil": math.ceil,
}
"""What becomes of a width times alpha: what Table 1 was made with, and what the text says."""


def depth_multiplier(
    model: nn.Module,
    alpha: float,
    *,
    rule: str = "floor8",
    input_size: InputSize | None = None,
    example_inputs: Any = None,
) -> Thinned:
    """Make every layer of a network narrower by one factor (Changpinyo et al. 2017, section 3; their baseline).

    Every convolution and every hidden linear layer makes alpha times its channels; what it reads follows from what is
    there to be read, which one dry run on the meta device tells, whatever the network concatenates or adds. Layers that
    make the network's outputs keep their width. Depthwise convolutions take the width of what they read; of grouped
    ones the groups stay, and widths are rounded down to multiples of them.

    All weights are drawn anew, from torch's global generator: He's normal ones by fan-in for convolutions, torch's own
    for linear layers. Nothing else draws from it. Sizes that the network notes of itself beside its layers, such as
    timm's `feature_info`, stay as they were, but for those that `reset_classifier` needs.

    Deviation: the paper says that widths are rounded up; its Table 1 follows `"floor8"`, exactly.

    Args:
        model: Any network of convolutions, linear layers and normalizations. It is copied, not changed.
        alpha: Factor, above 0; costs go with about its square. The paper's small networks take the root of what they
            want to cost.
        rule: `"floor8"`, max(8, 8 floor(alpha c / 8)), or `"ceil"`.
        input_size: Channels, height and width of an image; by default those of the model's `pretrained_cfg`.
        example_inputs: In place of a size, the arguments of one call: a tuple, a mapping of keyword arguments, or the
            one argument.

    Raises:
        SkipweaveError: An argument does not fit; or a module of the network, which is named, cannot be made narrower:
            it has parameters whose width is not known, is tied to another, or a size is fixed elsewhere; or the result
            would give anything of another structure, shape or dtype.

    >>> import torchvision
    >>> result = depth_multiplier(torchvision.models.resnet18(), 0.5, input_size=(3, 224, 224))
    >>> result.convolution_weights
    (11166912, 2794080)
    """
    check_factor(alpha, rule)
    trials = trials_of(model, input_size, example_inputs)
    _check_modules(model)
    reference = Reference(model, trials, values=False)
    factor = Fraction(str(alpha))  # 0.1 as it is written, not the nearest binary number

    def scaled(width: int) -> int:
        return RULES[rule](factor * width) if factor > 1 else min(width, RULES[rule](factor * width))

    widths = _widths(model, trials, scaled)
    narrow = copied(model)
    for name, width in widths.items():
        part = narrow.get_submodule(name)
        resize(part, name, width)
        draw(part)
    _note_classifier(narrow)
    reference.require(narrow, "the narrow network", "A size is fixed outside its layers: write it without that number.")
    if trials.device == "meta":  # elsewhere the way may depend on numbers
        require_same_way(model, narrow, trials)
    changes = {
        name: f"{output_width(part)} to {widths[name].outputs} channels"
        for name, part in model.named_modules()
        if isinstance(part, MAKERS)
    }
    return thinned(model, narrow, changes, trials)


def check_factor(alpha: float, rule: str = "floor8", **_: object) -> None:
    """Check those arguments of `depth_multiplier` that need no network; others are left alone.

    Raises:
        SkipweaveError: One does not fit.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, Real) or not 0 < alpha < math.inf:
        raise SkipweaveError(f"alpha is {alpha!r}: expected a number above 0, such as 0.5")
    if rule not in list(RULES):
        raise SkipweaveError(f"unknown rule {rule!r}: expected one of {', '.join(RULES)}")


def _check_modules(model: nn.Module) -> None:
    """Refuse what would not fit other widths: parameters whose width is not known, and what is attached to layers."""
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
                f"{where}: {type(part).__name__} has parameters of its own "
                f"({', '.join(own)}) whose width is not known here; networks of skipweave take growth or widths instead"
            )


def _widths(model: nn.Module, trials: Trials, scaled: Callable[[int], int]) -> dict[str, Widths]:
    """Widths of every layer, by name, found by running a twin that is made narrower as it runs."""
    twin = shape_twin(trials, model)
    last = kept_layers(model, trials)
    found: dict[str, Widths] = {}

    def fit(part: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        name = names[part]
        if name not in found:
            x = args[0] if args else kwargs["input"]
            found[name] = _new_widths(part, name, input_width(part, x), scaled, keep=name in last)
            resize(part, name, found[name])

    names = {part: name for name, part in twin.named_modules() if resizable(part)}
    for part in names:
        part.register_forward_pre_hook(fit, with_kwargs=True)
    inputs = next(trials.here())
    trains = runs(in_mode(trials.replica(model), training=True), inputs)  # auxiliary classifiers run then only
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


def _new_widths(part: nn.Module, name: str, inputs: int, scaled: Callable[[int], int], *, keep: bool) -> Widths:
    if not inputs:
        raise SkipweaveError(f"cannot make {name} narrower: nothing would be left of the channels that it reads")
    if not isinstance(part, MAKERS):
        return Widths(inputs, inputs)
    width = output_width(part)
    if depthwise(part):
        assert isinstance(part.in_channels, int)
        return Widths(inputs, inputs * width // part.in_channels)
    if keep:
        return Widths(inputs, width)
    groups = 1 if isinstance(part, nn.Linear) else part.groups
    assert isinstance(groups, int)
    return Widths(inputs, max(groups, scaled(width) // groups * groups))


def _note_classifier(model: nn.Module) -> None:
    """Bring what a timm model's `reset_classifier` builds by up to date."""
    classifier: object = getattr(model, "get_classifier", lambda: None)()
    if not isinstance(classifier, nn.Linear):
        return
    for part in model.modules():
        if isinstance(part, Head) and part.fc is classifier:
            part.in_width = classifier.in_features // (part.hidden_size // part.in_width)
            part.hidden_size = classifier.in_features
    for name in ("num_features", "head_hidden_size"):
        if isinstance(getattr(model, name, None), int):
            setattr(model, name, classifier.in_features)
