"""Running what a reader and its convolutions define, keeping for the backward pass only what is dear to make again."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from skipweave.layers.norm import Affine, before_affine
from skipweave.ops import Geometry, concat_read_lean, read_conv_fast, read_conv_lean
from skipweave.ops.eager import is_eager
from skipweave.ops.triton import node_table


class Read(nn.Module, ABC):
    """The first BN-ReLU of a composite function; called with one argument a node."""

    @abstractmethod
    def before_affine(self, *nodes: Tensor) -> Affine | None:
        """Return what awaits scale, shift and ReLU, in training; None where the reader cannot be halved."""


def read_and_run(
    read: nn.Module, layers: Iterable[nn.Module], nodes: Sequence[Tensor], *, again: bool = False
) -> Tensor:
    """Run layers one after another on what is read: the same function, gradients and running statistics.

    In training a convolution saves no activated map, and a batch norm before it its result alone: scale, shift, ReLU
    and concatenation are done again in the backward pass, convolutions are not. In evaluation mode nothing has to be
    saved, and only a GPU's kernels read and convolve at once. Modules that somebody watches by hooks or has replaced
    are called as they are; so are all where execution is not eager.

    Args:
        read: Called with the nodes.
        layers: The first one reads what is read; perhaps with BN-ReLU and further convolutions among them.
        nodes: Maps (N, C_s, H, W).
        again: Whether this is run within `recompute`: what is saved then lives but for a moment, and convolutions save
            their maps, so that the last one need not run again.

    Returns:
        What the last layer makes, (N, C, H', W').
    """
    rest = list(layers)
    eager = is_eager(*nodes)
    lean = eager and torch.is_grad_enabled()
    halved = (lean and rest[0].training) or (eager and node_table.are_readable(nodes))
    affine = None
    if halved and isinstance(read, Read) and is_untouched(read) and _is_conv(rest[0]):
        affine = read.before_affine(*nodes)
    x = read(*nodes) if affine is None else _convolve(affine, rest.pop(0), again)
    while rest:
        if lean and len(rest) > 2 and halves(rest[0]) and _is_relu(rest[1]) and _is_conv(rest[2]):
            x = _convolve(before_affine(rest[0], x), rest[2], again)
            del rest[:3]
        else:
            x = rest.pop(0)(x)
    return x


def norm_relu(norm: nn.Module, x: Tensor) -> Tensor:
    """Batch norm and ReLU, (N, C, H, W) to the same: in place where nobody else can have what the norm returned."""
    normalized: Tensor = norm(x)
    return normalized.relu_() if is_eager(x) and is_untouched(norm) else normalized.relu()


def halves(norm: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether a batch norm can be done in two halves: it is torch's own, has a scale, and is in training mode."""
    return type(norm) is nn.BatchNorm2d and norm.affine and norm.training and is_untouched(norm)


def is_untouched(module: nn.Module) -> bool:
    """Whether calling a module runs the `forward` of its class as it was defined, and nothing besides.

    Not with hooks, its own or global ones, with a `forward` put in place of the class's, or where it is compiled.
    """
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    if any(hooks) or _has_any_global_hook() or "forward" in vars(module) or module._compiled_call_impl is not None:
        return False
    kind = type(module)
    return kind.forward is _FORWARDS.get(kind, kind.forward)


_KNOWN: tuple[type[nn.Module], ...] = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Sequential)
_FORWARDS = {kind: kind.forward for kind in _KNOWN}


def _is_conv(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    plain = type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return plain and is_untouched(layer)


def _is_relu(layer: nn.Module) -> bool:
    return type(layer) is nn.ReLU and is_untouched(layer)


def _convolve(affine: Affine, conv: Any, again: bool) -> Tensor:
    if again:
        return conv(concat_read_lean(*affine))
    convolve = read_conv_lean if conv.training and torch.is_grad_enabled() else read_conv_fast
    geometry = Geometry(conv.stride, conv.padding, conv.dilation, conv.groups)
    return convolve(*affine, conv.weight, conv.bias, geometry)
