"""Running what a reader and its convolutions define, keeping for the backward pass only what is dear to make again."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from skipweave.layers.normalise import Affine, before_affine
from skipweave.ops import Geometry, concat_read_lean, node_table, read_conv_fast, read_conv_lean


class Read(nn.Module, ABC):
    """The first BN-ReLU of a composite function; called with one argument a node."""

    @abstractmethod
    def before_affine(self, *nodes: Tensor) -> Affine | None:
        """Return what awaits gains, biases and ReLU, in training; None where the reader cannot be halved."""


def read_and_run(
    read: nn.Module, layers: Iterable[nn.Module], nodes: Sequence[Tensor], *, again: bool = False
) -> Tensor:
    """Run layers one after another on what is read: the same function, gradients and running statistics.

    In training a convolution keeps no activated map, and a batch norm before it its result alone: gains, biases, ReLU
    and concatenation are done again in the backward pass, convolutions are not. In evaluation mode nothing has to be
    kept, and only a GPU's kernels read and convolve at once. Layers that somebody watches by hooks or has replaced are
    called as they are; so are all under a compiler, which decides for itself what to keep.

    Args:
        read: Called with the nodes.
        layers: The first one reads what is read; perhaps with BN-ReLU and further convolutions among them.
        nodes: Maps (N, C_s, H, W).
        again: Whether this is run within `recompute`: what is kept then lives but for a moment, and convolutions keep
            their maps, so that the last one need not run again.

    Returns:
        What the last layer makes, (N, C, H', W').
    """
    rest = list(layers)
    affine = None
    if isinstance(read, Read) and not _is_watched(read) and _is_conv(rest[0]):
        affine = read.before_affine(*nodes) if _keeps(rest) or node_table.are_readable(nodes) else None
    x = read(*nodes) if affine is None else _convolve(affine, rest.pop(0), again)
    while rest:
        if _keeps(rest) and len(rest) > 2 and halves(rest[0]) and type(rest[1]) is nn.ReLU and _is_conv(rest[2]):
            x = _convolve(before_affine(rest[0], x), rest[2], again)
            del rest[:3]
        else:
            x = rest.pop(0)(x)
    return x


def halves(norm: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether a batch norm can be done in two halves: it is torch's own, has gains, and is in training mode."""
    return type(norm) is nn.BatchNorm2d and norm.affine and norm.training and not _is_watched(norm)


def _keeps(layers: Sequence[nn.Module]) -> bool:
    return layers[0].training and torch.is_grad_enabled() and not torch.compiler.is_compiling()


def _is_conv(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    plain = type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return plain and not _is_watched(layer)


def _is_watched(layer: nn.Module) -> bool:
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return any(hooks)


def _convolve(affine: Affine, conv: Any, again: bool) -> Tensor:
    if again:
        return conv(concat_read_lean(*affine))
    convolve = read_conv_lean if _keeps([conv]) else read_conv_fast
    geometry = Geometry(conv.stride, conv.padding, conv.dilation, conv.groups)
    return convolve(*affine, conv.weight, conv.bias, geometry)
