"""Run any network without its tensors: what images it takes, and a twin of it on the meta device."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from skipweave.errors import SkipweaveError

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm)
"""Normalisations: they give maps of the shape that they are given, whatever its size."""


def checked_input_size(model: nn.Module, input_size: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """Return the size given, or else the model's own.

    Raises:
        SkipweaveError: There is neither, or it is not three positive numbers.
    """
    size = tuple(input_size or _own_size(model))
    if not size:
        raise SkipweaveError("the model does not say what images it takes: give input_size=(channels, height, width)")
    if len(size) != 3 or not all(isinstance(side, int) and side > 0 for side in size):
        raise SkipweaveError(f"input_size is {size}: expected three positive numbers (channels, height, width)")
    channels, height, width = size
    return channels, height, width


def _own_size(model: nn.Module) -> tuple[int, ...]:
    """What a timm model says of its images; its channels may have been overridden."""
    size = (getattr(model, "pretrained_cfg", None) or {}).get("input_size") or ()
    channels = getattr(model, "in_chans", None)
    return (channels, *size[1:]) if isinstance(channels, int) and size else tuple(size)


def on_meta(model: nn.Module) -> nn.Module:
    """Copy a model to the meta device without copying its tensors."""
    empty: dict[int, object] = {}
    for parameter in model.parameters():
        like = torch.empty_like(parameter, device="meta")
        empty[id(parameter)] = nn.Parameter(like, requires_grad=parameter.requires_grad)
    for buffer in model.buffers():
        empty[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, empty)


def shape_twin(model: nn.Module) -> nn.Module:
    """Copy a model to the meta device, its normalisations giving what they are given: all that shapes depend on."""
    twin = on_meta(model)
    for part in twin.modules():
        if isinstance(part, NORMS):
            part.forward = _given  # type: ignore[method-assign]
    return twin


def _given(x: Tensor, *_: object) -> Tensor:
    return x


class QuickNorms(TorchDispatchMode):
    """While it lasts, batch norms on the meta device are one operation: torch makes some thirty of each."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Give the shapes of a batch norm's results; let all else go its way."""
        if func is torch.ops.aten.batch_norm.default:
            return torch.empty_like(args[0])
        if func is torch.ops.aten.native_batch_norm.default:
            x, *_, training, _, _ = args
            statistics = x.shape[1] if training else 0
            return torch.empty_like(x), x.new_empty(statistics), x.new_empty(statistics)
        return func(*args, **(kwargs or {}))


def dry_run(twin: nn.Module, input_size: tuple[int, int, int], method: str = "forward") -> object:
    """Run a model on the meta device on two images; torch's random numbers stay as they were.

    Args:
        twin: The model.
        input_size: Channels, height and width of an image.
        method: Which of its methods runs; what an iterator yields is returned as a list.

    Raises:
        SkipweaveError: A module of it, which is named, cannot run.
    """
    dtype = next((parameter.dtype for parameter in twin.parameters()), torch.float32)
    entered: list[nn.Module] = []

    def left(*_: object) -> None:
        entered.pop()

    hooks = (
        register_module_forward_pre_hook(lambda part, _: entered.append(part)),
        register_module_forward_hook(left),
    )
    try:
        with torch.random.fork_rng(devices=[]):
            run = twin if method == "forward" else getattr(twin, method)
            made = run(torch.empty(2, *input_size, device="meta", dtype=dtype))
            return list(made) if isinstance(made, Iterator) else made
    except SkipweaveError:
        raise
    except Exception as error:
        names = {part: name for name, part in twin.named_modules()}
        part = entered[-1] if entered else twin
        where = f"{names.get(part) or 'the network itself'} ({type(part).__name__})"
        raise SkipweaveError(f"{where} cannot run for images of size {input_size}: {error}") from error
    finally:
        for hook in hooks:
            hook.remove()
