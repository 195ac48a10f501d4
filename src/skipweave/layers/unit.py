"""Units: the composite functions (BN-ReLU-convolution) that compute the next node, and their low-memory execution."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeGuard

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from skipweave.layers.activation_checkpointing import recompute
from skipweave.layers.norm import GroupNorm2d, Norm, NormLayer, make_norm, normalize
from skipweave.ops import Geometry, concat_read_low_memory, convolve, read_conv_fast, read_conv_low_memory
from skipweave.ops.eager_execution import is_eager
from skipweave.ops.triton import node_table


class Unit(nn.Module):
    """A composite function: read nodes, convolve, normalize the new node.

    Args:
        read: Aggregation of the nodes with the first BN-ReLU, called with one tensor per node (`ConcatRead`, ...).
        body: The convolutions: one module, or several in an `nn.Sequential`.
        norm: Applied to the result (`make_node_norm`, or `nn.Identity`).
        drop_path_rate: Rate of stochastic depth: in training, the node of each sample is zero at that rate, and else
            divided by 1 minus the rate. It follows the norm, whose statistics are those of all samples.

    Shape: one (N, C_s, H, W) per node read to (N, C, H', W').
    """

    def __init__(self, read: nn.Module, body: nn.Module, norm: nn.Module, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.read = read
        self.body = body
        self.norm = norm
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()

    def forward(self, *nodes: Tensor | torch.Size, checkpointing: bool = False) -> Tensor:
        """Return `norm(body(read(*nodes)))`; with `checkpointing`, saves only the nodes for the backward pass."""
        if checkpointing:
            convolved = recompute(self, *nodes, part=partial(self._convolved, checkpointing=True))
        else:
            convolved = self._convolved(*nodes)
        return self.drop_path(self.norm(convolved))

    def _convolved(self, *nodes: Any, checkpointing: bool = False) -> Tensor:
        body = self.body
        layers = [*body] if type(body) is nn.Sequential and is_unmodified(body) else [body]
        return read_and_run(self.read, layers, nodes, checkpointing=checkpointing)


def conv1x1(in_width: int, width: int, stride: int = 1) -> nn.Conv2d:
    """1x1 convolution without bias."""
    return nn.Conv2d(in_width, width, kernel_size=1, stride=stride, bias=False)


def conv3x3(in_width: int, width: int, dilation: int = 1) -> nn.Conv2d:
    """3x3 convolution without bias, padded to keep the map's size."""
    return nn.Conv2d(in_width, width, kernel_size=3, padding=dilation, dilation=dilation, bias=False)


def basic_body(in_width: int, growth: int, *, drop_rate: float = 0.0, dilation: int = 1) -> nn.Sequential:
    """3x3 convolution (DenseNet, section 3)."""
    return nn.Sequential(OrderedDict(conv=conv3x3(in_width, growth, dilation), **dropout(drop_rate)))


def bottleneck_body(
    in_width: int,
    growth: int,
    *,
    drop_rate: float = 0.0,
    inner_drop_rate: float = 0.0,
    dilation: int = 1,
    norm_layer: NormLayer = "batch",
) -> nn.Sequential:
    """1x1 convolution to 4 x growth, BN-ReLU, 3x3 convolution (DenseNet-B, section 3).

    Dropout of the inner_drop_rate follows the 1x1 convolution, dropout of the drop_rate the 3x3 convolution.
    """
    return nn.Sequential(
        OrderedDict(
            conv1=conv1x1(in_width, 4 * growth),
            **dropout(inner_drop_rate, "drop1"),
            norm=make_norm(4 * growth, norm_layer),
            relu=nn.ReLU(),
            conv2=conv3x3(4 * growth, growth, dilation),
            **dropout(drop_rate),
        )
    )


def residual_body(
    in_width: int,
    width: int,
    *,
    expansion: int = 4,
    stride: int = 1,
    dilation: int = 1,
    norm_layer: NormLayer = "batch",
) -> nn.Sequential:
    """1x1, 3x3 and 1x1 convolutions with BN-ReLU between, from in_width through width to expansion x width.

    The stride is that of the first convolution, as in the released pre-activation ResNets (He et al. 2016).
    """
    return nn.Sequential(
        OrderedDict(
            conv1=conv1x1(in_width, width, stride),
            norm1=make_norm(width, norm_layer),
            relu1=nn.ReLU(),
            conv2=conv3x3(width, width, dilation),
            norm2=make_norm(width, norm_layer),
            relu2=nn.ReLU(),
            conv3=conv1x1(width, expansion * width),
        )
    )


def dropout(rate: float, name: str = "drop") -> dict[str, nn.Module]:
    """A dropout layer by its name in an `nn.Sequential`; none at rate 0."""
    return {name: nn.Dropout(rate)} if rate else {}


class PendingAffine(NamedTuple):
    """Normalized maps whose concatenation, scale, shift and ReLU are still to be computed (`ops.concat_read`).

    Attributes:
        nodes: Normalized maps (N, C_s, H, W).
        scale: (C,) with C the sum of the C_s.
        shift: (C,).
    """

    nodes: tuple[Tensor, ...]
    scale: Tensor
    shift: Tensor


class Read(nn.Module, ABC):
    """Aggregation and the first BN-ReLU of a composite function, called with one argument per node."""

    @abstractmethod
    def pending_affine(self, *nodes: Tensor) -> PendingAffine | None:
        """Compute everything up to scale, shift and ReLU, in training; None if the norm cannot be split."""


def pending_affine(norm: Norm, x: Tensor) -> PendingAffine:
    """Normalize as a norm in training does, and leave its scale and shift pending."""
    return PendingAffine((normalize(norm, x),), norm.weight, norm.bias)


def norm_relu(norm: nn.Module, x: Tensor) -> Tensor:
    """Norm and ReLU, (N, C, H, W) to the same; ReLU runs in place where no hook can hold the norm's output."""
    normalized: Tensor = norm(x)
    return normalized.relu_() if is_eager(x) and is_unmodified(norm) else normalized.relu()


def read_and_run(
    read: nn.Module, layers: Iterable[nn.Module], nodes: Sequence[Tensor], *, checkpointing: bool = False
) -> Tensor:
    """Equal to `nn.Sequential(*layers)(read(*nodes))` in value, gradients and running statistics, with less memory.

    In training, a convolution does not save its activated input, and a norm before it saves only its normalized
    output: concatenation, scale, shift and ReLU are recomputed in the backward pass, convolutions are not. In
    evaluation mode nothing is saved, and only GPU kernels fuse read and convolution. Modules with hooks or a replaced
    `forward` are called as they are, as are all modules outside of eager execution.

    Args:
        read: Called with the nodes.
        layers: Applied in order to the result of `read`.
        nodes: Maps (N, C_s, H, W).
        checkpointing: Whether this call runs within `recompute`. Saved tensors are then short-lived, and convolutions
            save their inputs, so that the last one need not run again.

    Returns:
        The output of the last layer, (N, C, H', W').
    """
    rest = list(layers)
    eager = is_eager(*nodes)
    differentiable = eager and torch.is_grad_enabled()
    fusible = (differentiable and rest[0].training) or (eager and node_table.are_readable(nodes))
    pending = None
    if fusible and isinstance(read, Read) and is_unmodified(read) and _is_conv(rest[0]):
        pending = read.pending_affine(*nodes)
    x = read(*nodes) if pending is None else _convolve(pending, rest.pop(0), checkpointing)
    while rest:
        if differentiable and len(rest) > 2 and can_split(rest[0]) and _is_relu(rest[1]) and _is_conv(rest[2]):
            x = _convolve(pending_affine(rest[0], x), rest[2], checkpointing)
            del rest[:3]
        else:
            layer = rest.pop(0)
            x = layer(x) if checkpointing else run_layer(layer, x)  # of torch's, the last is not recomputed
    return x


def run_layer(layer: nn.Module, x: Tensor) -> Tensor:
    """Call a layer; convolutions have the weight gradient of `ops.convolve`, which is faster on small maps."""
    if is_eager(x) and _is_conv(layer):
        return convolve(x, layer.weight, layer.bias, _geometry(layer))
    return layer(x)


def _convolve(pending: PendingAffine, conv: Any, checkpointing: bool) -> Tensor:
    if checkpointing:
        return conv(concat_read_low_memory(*pending))
    read_conv = read_conv_low_memory if conv.training and torch.is_grad_enabled() else read_conv_fast
    return read_conv(*pending, conv.weight, conv.bias, _geometry(conv))


def _geometry(conv: Any) -> Geometry:
    return Geometry(conv.stride, conv.padding, conv.dilation, conv.groups)


def can_split(norm: nn.Module) -> TypeGuard[Norm]:
    """Whether `pending_affine` may replace a call of this norm: an unmodified one of `make_norm`, in training."""
    if type(norm) is not nn.BatchNorm2d and type(norm) is not GroupNorm2d:
        return False
    return norm.affine and norm.training and is_unmodified(norm)


def is_unmodified(module: nn.Module) -> bool:
    """Whether calling a module does nothing but run the original `forward` of its class.

    False with own or global hooks, with a replaced `forward`, or if the module is compiled.
    """
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    if any(hooks) or _has_any_global_hook() or "forward" in vars(module) or module._compiled_call_impl is not None:
        return False
    kind = type(module)
    return kind.forward is _ORIGINAL_FORWARDS.get(kind, kind.forward)


_FUSIBLE: tuple[type[nn.Module], ...] = (nn.Conv2d, nn.BatchNorm2d, GroupNorm2d, nn.ReLU, nn.Sequential)
_ORIGINAL_FORWARDS = {kind: kind.forward for kind in _FUSIBLE}


def _is_conv(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    plain = type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return plain and is_unmodified(layer)


def _is_relu(layer: nn.Module) -> bool:
    return type(layer) is nn.ReLU and is_unmodified(layer)
