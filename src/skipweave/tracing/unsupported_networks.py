"""Check for networks that cannot be traced or copied."""

from collections import defaultdict

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parallel import DataParallel, DistributedDataParallel

from skipweave_config.errors import SkipweaveError


def check_supported(model: object) -> None:
    """Raise for networks that are not supported.

    Raises:
        SkipweaveError: The network is not a module; it or a submodule is compiled, scripted, quantized, wrapped for
            several devices, or lazy and uninitialized; or its tensors are on several devices.
    """
    if not isinstance(model, nn.Module):
        raise SkipweaveError(f"model is a {type(model).__name__}: expected a torch.nn.Module")
    for name, part in model.named_modules():
        if reason := _why_not(part):
            raise SkipweaveError(f"{name or 'the network'} is {reason}")
    _check_devices(model)


def _why_not(part: nn.Module) -> str:
    if type(part).__name__ == "OptimizedModule":
        return "compiled: give the original network (its _orig_mod), and compile the result"
    if isinstance(part, torch.jit.ScriptModule):
        return "scripted: give the original network, and script the result"
    if isinstance(part, DataParallel | DistributedDataParallel):
        return f"wrapped in {type(part).__name__}: give its module, and wrap the result"
    if isinstance(part, LazyModuleMixin) and part.has_uninitialized_params():
        return "lazy and uninitialized: run the network once first"
    quantized = ".quantized." in f".{type(part).__module__}."
    if quantized or any(tensor.is_quantized for tensor in part.buffers(recurse=False)):
        return "quantized: give the floating-point network, and quantize the result"
    return ""


def _check_devices(model: nn.Module) -> None:
    places: dict[torch.device, list[str]] = defaultdict(list)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        places[tensor.device].append(name)
    if len(places) > 1:
        where = ", ".join(f"{names[0]} on {device}" for device, names in places.items())
        raise SkipweaveError(f"the network is on several devices ({where}): expected a single device")
