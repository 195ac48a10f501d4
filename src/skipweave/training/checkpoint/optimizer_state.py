"""An optimizer's state as named tensors and plain values, and back."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def pack(optimizer: Optimizer, names: list[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Convert the state to tensors and plain values.

    Returns:
        Tensors by `<parameter>/<key>`, and the plain values by the same names.
    """
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            place = tensors if isinstance(value, Tensor) else values
            place[f"{names[index]}/{key}"] = value
    return tensors, values


def unpack(optimizer: Optimizer, names: list[str], tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
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
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
