"""An optimizer's state as named tensors and plain values, and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_IN_CONFIG = ("params", "lr", "lr_scale", "initial_lr", "epochs")


def names_in_order(optimizer: Optimizer, network: nn.Module) -> list[str]:
    """The names of an optimizer's parameters, in the order of its groups."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def pack(optimizer: Optimizer, names: list[str]) -> tuple[dict[str, Tensor], dict[str, Any], list[dict[str, Any]]]:
    """Convert the state to tensors and plain values.

    Returns:
        Tensors by `<parameter>/<key>`, the plain values by the same names, and what each group counts, such as steps.
    """
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            place = tensors if isinstance(value, Tensor) else values
            place[f"{names[index]}/{key}"] = value
    return tensors, values, [_counted(group, optimizer) for group in optimizer.param_groups]


def unpack(
    optimizer: Optimizer,
    names: list[str],
    tensors: Mapping[str, Tensor],
    values: Mapping[str, Any],
    groups: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Load what `pack` returned; moments get the memory format of their parameters, for speed."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    index = {name: place for place, name in enumerate(names)}
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **values}.items():
        name, key = name.rsplit("/", 1)
        like = parameters[index[name]]
        if isinstance(value, Tensor) and value.shape == like.shape:
            value = torch.empty_like(like, dtype=value.dtype, device=value.device).copy_(value)
        state.setdefault(index[name], {})[key] = value
    made = optimizer.state_dict()["param_groups"]
    counted = groups or [{}] * len(made)
    param_groups = [{**group, **own} for group, own in zip(made, counted, strict=True)]
    optimizer.load_state_dict({"state": state, "param_groups": param_groups})


def _counted(group: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """The values of a group that are not set when the optimizer is made."""
    made = (*optimizer.defaults, *_IN_CONFIG)
    values = {
        key: value.item() if isinstance(value, Tensor) else value for key, value in group.items() if key not in made
    }
    return {key: value for key, value in values.items() if isinstance(value, int | float)}
