"""`depth_multiplier`: a given network with every layer narrower by one factor."""

import copy
import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from fractions import Fraction
from numbers import Real

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.utils._pytree import tree_leaves

from skipweave.compress.dry_run import checked_input_size, dry_run, shape_twin
from skipweave.compress.report import Thinned, thinned
from skipweave.compress.widths import (
    MAKERS,
    Widths,
    depthwise,
    draw,
    input_width,
    output_width,
    resizable,
    resize,
)
from skipweave.errors import SkipweaveError
from skipweave.layers import Head

RULES: Mapping[str, Callable[[Fraction], int]] = {
    "floor8": lambda exact: max(8, 8 * math.floor(exact / 8)),
    "ceil": math.ceil,
}
"""What becomes of a width times alpha: what Table 1 was made with, and what the text says."""


def depth_multiplier(
    model: nn.Module, alpha: float, *, rule: str = "floor8", input_size: tuple[int, int, int] | None = None
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
        model: Any network of convolutions, linear layers and normalisations. It is copied, not changed.
        alpha: Factor, above 0; costs go with about its square. The paper's small networks take the root of what they
            want to cost.
        rule: `"floor8"`, max(8, 8 floor(alpha c / 8)), or `"ceil"`.
        input_size: Channels, height and width of an image; by default those of the model's `pretrained_cfg`.

    Raises:
        SkipweaveError: An argument does not fit, or a module of the network, which is named, cannot be made narrower:
            it has parameters whose width is not known, or a size is fixed elsewhere.

    >>> import torchvision
    >>> result = depth_multiplier(torchvision.models.resnet18(), 0.5, input_size=(3, 224, 224))
    >>> result.convolution_weights
    (11166912, 2794080)
    """
    check_factor(alpha, rule)
    size = checked_input_size(model, input_size)
    _check_modules(model)
    factor = Fraction(str(alpha))  # 0.1 as it is written, not the nearest binary number
    widths = _widths(model, size, lambda width: RULES[rule](factor * width))
    narrow = copy.deepcopy(model)
    for name, width in widths.items():
        part = narrow.get_submodule(name)
        resize(part, name, width)
        draw(part)
    _note_classifier(narrow)
    changes = {
        name: f"{output_width(part)} to {widths[name].outputs} channels"
        for name, part in model.named_modules()
        if isinstance(part, MAKERS)
    }
    return thinned(model, narrow, changes, size)


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
    """Refuse parameters whose width is not known."""
    for name, part in model.named_modules():
        own = [key for key, value in part.named_parameters(recurse=False) if value.numel() > 1]
        if own and not resizable(part):
            raise SkipweaveError(
                f"cannot make {name or 'the network itself'} narrower: {type(part).__name__} has parameters of its own "
                f"({', '.join(own)}) whose width is not known here; networks of skipweave take growth or widths instead"
            )


def _widths(model: nn.Module, size: tuple[int, int, int], scaled: Callable[[int], int]) -> dict[str, Widths]:
    """Widths of every layer, by name, found by running a twin that is made narrower as it runs."""
    twin = shape_twin(model)
    last = _last_layers(twin, size)
    found: dict[str, Widths] = {}

    def fit(part: nn.Module, args: tuple[Tensor, ...]) -> None:
        name = names[part]
        if name not in found:
            found[name] = _new_widths(part, input_width(part, args[0]), scaled, keep=part in last)
            resize(part, name, found[name])

    names = {part: name for name, part in twin.named_modules() if resizable(part)}
    for part in names:
        part.register_forward_pre_hook(fit)
    with torch.no_grad():
        for training in (True, False):  # auxiliary classifiers run in one of the two only
            try:
                dry_run(twin.train(training), size)
            except SkipweaveError as error:
                raise SkipweaveError(f"cannot make the network narrower: {error}") from error
    if unseen := names.values() - found.keys():
        raise SkipweaveError(f"cannot make {sorted(unseen)[0]} narrower: the network does not call it as a module")
    return found


def _new_widths(part: nn.Module, inputs: int, scaled: Callable[[int], int], *, keep: bool) -> Widths:
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


def _last_layers(twin: nn.Module, size: tuple[int, int, int]) -> set[nn.Module]:
    """Convolutions and linear layers that make the network's outputs: nothing of their kind comes after them."""
    made_by: dict[Node, nn.Module] = {}

    def note(part: nn.Module, args: object, output: Tensor) -> None:
        assert output.grad_fn is not None
        made_by[output.grad_fn] = part

    makers = [part for part in twin.modules() if isinstance(part, MAKERS) and not depthwise(part)]
    hooks = [part.register_forward_hook(note) for part in makers]
    twin.requires_grad_(True)
    last: set[nn.Module] = set()
    for training in (True, False):
        outputs = [leaf for leaf in tree_leaves(dry_run(twin.train(training), size)) if isinstance(leaf, Tensor)]
        last |= {made_by[node] for node in _first_met(outputs, made_by)}
    for hook in hooks:
        hook.remove()
    return last


def _first_met(outputs: Iterable[Tensor], stops: Container[Node]) -> Iterator[Node]:
    """Nodes of the autograd graph that are met first on the ways back from the outputs."""
    waiting = [output.grad_fn for output in outputs if output.grad_fn]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if node in stops:
            yield node
            continue
        earlier = {before for before, _ in node.next_functions if before} - seen
        waiting += earlier
        seen |= earlier


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
