"""Copies of networks: independent copies to be modified, and replicas to be run instead of the network."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from skipweave.tracing.held_tensors import tensors_in
from skipweave_config.errors import SkipweaveError

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
"""Attributes of a module that hold its hooks."""


def copied(model: nn.Module) -> nn.Module:
    """Copy a network: modules, tensors and their ties, attributes of parameters, and hooks.

    Hooks that belong to the network (its own methods and objects, `torch.nn.utils.weight_norm` and similar) are copied;
    all others, on modules and parameters, are registered on the copy as well.

    Raises:
        SkipweaveError: The network cannot be copied.
    """
    # Subclasses of Parameter are copied by deepcopy.
    plain = [parameter for parameter in model.parameters() if type(parameter) is nn.Parameter]
    return _copy(model, {id(p): nn.Parameter(p.detach().clone(), p.requires_grad) for p in plain}, users_hooks=True)


def replica(model: nn.Module, change: Callable[[str, Tensor], Tensor] | None = None) -> nn.Module:
    """Copy a network to be run instead of it, in evaluation mode, without side effects on the network.

    Hooks that belong to the network are copied, the user's are not.

    Args:
        model: The network.
        change: Returns the replacement of a tensor of a module, given its name and the tensor.

    Raises:
        SkipweaveError: The network cannot be copied.
    """
    tensors: dict[int, Tensor] = {}
    for place, tensor in tensors_of(model) if change else ():
        if id(tensor) not in tensors:
            new = change(place, tensor)  # type: ignore[misc]
            is_parameter = isinstance(tensor, nn.Parameter)
            tensors[id(tensor)] = nn.Parameter(new, tensor.requires_grad) if is_parameter else new
    return in_mode(_copy(model, tensors, users_hooks=False), training=False)


def in_mode(twin: nn.Module, *, training: bool) -> nn.Module:
    """Set a replica to training or evaluation mode.

    Raises:
        SkipweaveError: The network's own `train` method fails.
    """
    try:
        twin.train(training)
    except Exception as error:
        mode = "training" if training else "evaluation"
        raise SkipweaveError(f"{type(twin).__name__} cannot be set to {mode} mode: {error}") from error
    return twin


def on_meta(model: nn.Module) -> nn.Module:
    """Create a replica on the meta device, without copying tensors."""
    return replica(model, lambda _, tensor: torch.empty_like(tensor, device="meta"))


def has_hooks(part: nn.Module) -> bool:
    """Whether a module has forward hooks, other than torch's hooks that compute its weights."""
    return any(not _is_torchs(hook) for name in HOOKS[:2] for hook in getattr(part, name).values())


def computes_weights(part: nn.Module) -> bool:
    """Whether a hook of torch computes a weight before each run: old-style weight norm, spectral norm, pruning."""
    return any(map(_is_torchs, part._forward_pre_hooks.values()))


def _copy(model: nn.Module, tensors: dict[int, Tensor], *, users_hooks: bool) -> nn.Module:
    """Copy a network.

    Args:
        model: The network.
        tensors: Replacements of its tensors, by id; others are copied.
        users_hooks: Whether the copy gets hooks that do not belong to the network.
    """
    memo: dict[int, Any] = dict(tensors)
    for part in model.modules():
        memo |= {id(getattr(part, name)): OrderedDict() for name in HOOKS}
    for _, tensor in tensors_of(model):
        if (
            id(tensor) not in memo and not tensor.is_leaf
        ):  # computed by a hook or in the last run; deepcopy raises for it
            memo[id(tensor)] = tensor.detach().clone()
    try:
        made = copy.deepcopy(model, memo)
        own = set(memo)
        for old, new in zip(model.modules(), made.modules(), strict=True):
            for name in HOOKS:
                for key, hook in getattr(old, name).items():
                    if _belongs(hook, own):
                        getattr(new, name)[key] = copy.deepcopy(hook, memo)
                    elif users_hooks:
                        getattr(new, name)[key] = hook
        for parameter in model.parameters():
            if memo[id(parameter)] is not parameter:
                _carry_attributes(parameter, memo[id(parameter)], memo, users_hooks)
    except Exception as error:
        raise SkipweaveError(
            f"{type(model).__name__} cannot be copied ({type(error).__name__}: {error}): expected a network that "
            "copy.deepcopy can copy"
        ) from error
    return made


def tensors_of(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All tensors that the modules of a network hold, in whatever attributes, with their names."""
    for prefix, part in model.named_modules():
        for name, value in vars(part).items():
            if name in ("_modules", "forward", *HOOKS):
                continue
            for key, held in value.items() if name in ("_parameters", "_buffers") else ((name, value),):
                place = f"{prefix}.{key}" if prefix else key
                for number, tensor in enumerate(tensors_in(held)):
                    yield (f"{place}[{number}]" if tensor is not held else place), tensor


def _carry_attributes(old: nn.Parameter, new: Tensor, memo: dict[int, Any], users_hooks: bool) -> None:
    """Copy the attributes of a parameter and the hooks on its gradient, which deepcopy drops."""
    vars(new).update(copy.deepcopy(vars(old), memo))
    if users_hooks:
        for name, hook in gradient_hooks(old):
            getattr(new, name)(hook)


def gradient_hooks(parameter: nn.Parameter) -> list[tuple[str, Any]]:
    """Hooks on the gradient of a parameter, with the name of the registering method."""
    before = (parameter._backward_hooks or {}).values()
    after = (getattr(parameter, "_post_accumulate_grad_hooks", None) or {}).values()
    return [("register_hook", hook) for hook in before] + [("register_post_accumulate_grad_hook", h) for h in after]


def _belongs(hook: Any, own: set[int]) -> bool:
    """Whether a hook is a method or object of the network, or a hook of torch that computes weights."""
    owner = _owner(hook)
    return owner is not None and (id(owner) in own or _is_torchs(hook))


def _is_torchs(hook: Any) -> bool:
    return type(_owner(hook)).__module__.startswith("torch.nn.utils.")


def _owner(hook: Any) -> Any | None:
    """The object that a hook is, or is a method of; None for plain functions."""
    while isinstance(hook, partial):
        hook = hook.func
    if isinstance(hook, MethodType):
        return hook.__self__
    return None if isinstance(hook, FunctionType | BuiltinFunctionType) else hook
