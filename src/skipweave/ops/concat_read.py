"""Reading of concatenated nodes: scale, shift and ReLU on normalized maps, the second half of BN-ReLU."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skipweave.ops.autocast import convolution_dtype
from skipweave.ops.cpu import node_reading
from skipweave.ops.eager_execution import allows_kernel, is_eager
from skipweave.ops.triton import node_table, read_launch


def concatenate(nodes: Sequence[Tensor]) -> Tensor:
    """Concatenate maps (N, C_s, H, W) along channels; a single map is returned as is."""
    return nodes[0] if len(nodes) == 1 else torch.cat(list(nodes), dim=1)


def concat_read(nodes: Sequence[Tensor], scale: Tensor, shift: Tensor) -> Tensor:
    """Concatenate normalized nodes and apply a reader's scale, shift and ReLU: the reference definition.

    Args:
        nodes: Normalized maps (N, C_s, H, W).
        scale: (C,) with C the sum of the C_s.
        shift: (C,).

    Returns:
        relu(scale * concat(nodes) + shift), (N, C, H, W).
    """
    return torch.addcmul(shift.view(-1, 1, 1), concatenate(nodes), scale.view(-1, 1, 1)).relu_()


def concat_read_low_memory(nodes: Sequence[Tensor], scale: Tensor, shift: Tensor) -> Tensor:
    """`concat_read` that saves only the nodes for the backward pass; same arguments.

    Under autocast the result has autocast's data type, as the convolutions that read it.
    """
    if not is_eager(scale, shift, *nodes):
        return concat_read(nodes, scale, shift)
    return _ConcatRead.apply(scale, shift, *nodes)


def concat_read_fast(nodes: Sequence[Tensor], scale: Tensor, shift: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """`concat_read` in one pass, by the C library or a Triton kernel where available and no gradient is recorded.

    Args:
        nodes: As in `concat_read`.
        scale: As in `concat_read`.
        shift: As in `concat_read`.
        dtype: Data type of the result; None is that of a convolution of the result (`convolution_dtype`).
    """
    if not isinstance(nodes[0], Tensor):  # torch.fx traces with proxies, which have no data type
        return concat_read(nodes, scale, shift)
    own = nodes[0].dtype
    dtype = dtype or convolution_dtype(torch.promote_types(own, scale.dtype), scale.device)
    fits = matches(nodes, scale, shift)
    layout = node_reading.layout(nodes, scale, shift) if fits and own in (dtype, torch.float32) else None
    if layout is not None:
        return node_reading.read(nodes, scale, shift, layout).to(dtype)
    if fits and node_table.are_readable(nodes, scale, shift):
        return read_launch.read(nodes, scale, shift, dtype)
    return concat_read(nodes, scale, shift).to(dtype)


def concat_read_gradients(
    grad_output: Tensor, nodes: Sequence[Tensor], scale: Tensor, shift: Tensor, needs_grad: Sequence[bool]
) -> tuple[Sequence[Tensor | None], Tensor, Tensor]:
    """Gradients of `concat_read` with respect to the nodes (where needed), scale and shift.

    Differentiable: with gradients enabled, torch's operators compute them.
    """
    fits = matches(nodes, scale, shift, grad_output)
    layout = node_reading.layout(nodes, scale, shift) if fits else None
    if layout is not None and nodes[0].dtype in (grad_output.dtype, torch.float32):
        return node_reading.read_gradients(grad_output.to(nodes[0].dtype), nodes, scale, shift, needs_grad, layout)
    if fits and node_table.are_readable(nodes, scale, shift, grad_output):
        return read_launch.source_gradients(grad_output, nodes, scale, shift, None, needs_grad)
    x = concatenate(nodes)
    activated = concat_read([x], scale, shift)
    grad_affine = torch.ops.aten.threshold_backward(grad_output.to(activated.dtype), activated, 0)
    del activated
    grad_x, grad_scale, grad_shift = _affine_gradients(grad_affine, x, scale)
    return grad_x.split([node.shape[1] for node in nodes], dim=1), grad_scale, grad_shift


def matches(nodes: Sequence[Tensor], scale: Tensor, shift: Tensor, *others: Tensor) -> bool:
    """Whether a kernel may read these tensors, nodes have one size, and scale and shift one entry per channel."""
    if not allows_kernel(scale, shift, *nodes, *others):
        return False
    sizes = {(len(node), *node.shape[2:]) for node in nodes}
    channels = (sum(node.shape[1] for node in nodes),)
    return len(sizes) == 1 and scale.shape == shift.shape == channels


class _ConcatRead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scale: Tensor, shift: Tensor, *nodes: Tensor) -> Tensor:
        ctx.save_for_backward(scale, shift, *nodes)
        return concat_read_fast(nodes, scale, shift)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        scale, shift, *nodes = ctx.saved_tensors
        grad_nodes, grad_scale, grad_shift = concat_read_gradients(
            grad_output, nodes, scale, shift, ctx.needs_input_grad[2:]
        )
        return grad_scale, grad_shift, *grad_nodes


def _affine_gradients(grad_output: Tensor, x: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of scale * x + shift with respect to x, scale and shift: those of a batch norm with mean 0, std 1."""
    zeros, ones = torch.zeros_like(scale), torch.ones_like(scale)
    x = x.to(grad_output.dtype)
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        grad_output, x, scale, zeros, ones, None, None, False, 0.0, [True, True, True]
    )
    return gradients
