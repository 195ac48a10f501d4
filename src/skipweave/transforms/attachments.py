"""Hooks, attributes and ties of layers: what is carried over to a replacement, and what prevents a replacement."""

from collections import defaultdict
from collections.abc import Mapping

from torch import nn
from torch.nn.utils import parametrize

from skipweave.tracing.copies import HOOKS, computes_weights, gradient_hooks

_HOOK_FLAGS = ("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs")
_OF_ALL_MODULES = vars(nn.Module()).keys()
_MAX_LISTED = 8
_TENSORS = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


def attached(model: nn.Module, *, new_parameters: bool = True) -> dict[str, str]:
    """Reasons why modules cannot be replaced or modified without losing something, by module name.

    Args:
        model: The network.
        new_parameters: Whether the modules would get new parameters, so that hooks on gradients would be lost.
    """
    owners: dict[int, list[str]] = defaultdict(list)
    for prefix, part in model.named_modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                owners[id(parameter)].append(f"{prefix}.{name}" if prefix else name)
    found = {prefix: _attached(prefix, part, owners, new_parameters) for prefix, part in model.named_modules()}
    return {prefix: reason for prefix, reason in found.items() if reason}


def _attached(prefix: str, part: nn.Module, owners: dict[int, list[str]], new_parameters: bool) -> str:
    if parametrize.is_parametrized(part):
        names = ", ".join(part.parametrizations)  # type: ignore[arg-type]
        return f"its {names} is parametrized: call torch.nn.utils.parametrize.remove_parametrizations first"
    if computes_weights(part):
        kinds = ", ".join(type(hook).__name__ for hook in part._forward_pre_hooks.values())
        return f"its weight is computed by a hook ({kinds}): remove it first (torch.nn.utils.prune.remove or similar)"
    for name, parameter in part._parameters.items():
        if parameter is not None:
            own = f"{prefix}.{name}" if prefix else name
            if others := [other for other in owners[id(parameter)] if other != own]:
                return f"its {name} is tied to {', '.join(others)}: untie them first"
            if new_parameters and gradient_hooks(parameter):
                return f"its {name} has a hook on its gradient: register it on the result"
    if "forward" in vars(part):
        return "its forward is replaced by another function"
    return ""


def own_tensors(part: nn.Module) -> list[str]:
    """Names of parameters and buffers that a convolution, linear layer or norm has in addition to the standard ones."""
    return [name for name in (*part._parameters, *part._buffers) if name not in _TENSORS]


def listed(reasons: Mapping[str, str], none: str) -> str:
    """Format the first few reasons, or return `none`."""
    some = [f"{name or 'the network itself'}: {reason}" for name, reason in list(reasons.items())[:_MAX_LISTED]]
    more = [f"and {len(reasons) - len(some)} more"] if len(reasons) > len(some) else []
    return "; ".join([*some, *more]) or none


def replace_modules(model: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> None:
    """Replace modules of a network under all of their names, in place."""
    for name, part in list(model.named_modules(remove_duplicate=False)):
        if part in replacements:
            model.set_submodule(name, replacements[part])


def carry_over(old: nn.Module, new: nn.Module) -> nn.Module:
    """Copy training mode, hooks, attributes and `requires_grad` from a module to its replacement, and return that."""
    new.train(old.training)
    for name in (*HOOKS, *_HOOK_FLAGS):
        getattr(new, name).update(getattr(old, name))
    if old._backward_hooks:
        new._is_full_backward_hook = old._is_full_backward_hook
    for name, value in vars(old).items():
        if name not in _OF_ALL_MODULES and not hasattr(new, name):
            setattr(new, name, value)
    weight = old._parameters.get("weight")
    for name, parameter in new.named_parameters():
        like = old._parameters.get(name)
        if like is not None:
            vars(parameter).update(vars(like))
        if (like := weight if like is None else like) is not None:
            parameter.requires_grad_(like.requires_grad)
    return new
