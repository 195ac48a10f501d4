"""`read_conv_low_memory` against the definition."""

import pytest
import torch
from torch import Tensor

from skipweave.ops import Geometry, read_conv, read_conv_low_memory

GEOMETRIES = [
    ((1, 1), Geometry()),
    ((3, 3), Geometry(padding=(1, 1))),
    ((3, 3), Geometry(stride=(2, 2), padding=(2, 2), dilation=(2, 2), groups=3)),
    ((1, 3), Geometry(padding=(0, 1))),
]


def made(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype).requires_grad_()


def given(kernel: tuple[int, int], geometry: Geometry, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Scale, shift, weight, convolution bias and three nodes of 1, 3 and 2 channels."""
    torch.manual_seed(0)
    nodes = [made(2, width, 5, 6, dtype=dtype) for width in (1, 3, 2)]
    weight = made(9, 6 // geometry.groups, *kernel, dtype=torch.promote_types(dtype, torch.float32))
    return [*(made(size, dtype=weight.dtype) for size in (6, 6)), weight, made(9, dtype=weight.dtype), *nodes]


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("kernel", "geometry"), GEOMETRIES)
def test_equals_the_definition(
    kernel: tuple[int, int], geometry: Geometry, layout: torch.memory_format, biased: bool
) -> None:
    scale, shift, weight, conv_bias, *nodes = given(kernel, geometry)
    nodes = [node.detach().to(memory_format=layout).requires_grad_() for node in nodes]
    results = []
    for function in (read_conv, read_conv_low_memory):
        out = function(nodes, scale, shift, weight, conv_bias if biased else None, geometry)
        inputs = [scale, shift, weight, *nodes, *([conv_bias] if biased else [])]
        results.append((out, torch.autograd.grad(out.pow(3).sum(), inputs)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)


def test_saves_only_its_operands() -> None:
    scale, shift, weight, _, *nodes = given(*GEOMETRIES[1])
    saved: set[int] = set()

    def note(tensor: Tensor) -> Tensor:
        saved.add(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        read_conv_low_memory(nodes, scale, shift, weight, None, GEOMETRIES[1][1])
    assert saved == {tensor.data_ptr() for tensor in (scale, shift, weight, *nodes)}


@pytest.mark.parametrize("differentiable", [0, 1, 2, 3, 4])
def test_gradients_are_computed_only_where_needed(differentiable: int) -> None:
    inputs = [tensor.detach().requires_grad_(at == differentiable) for at, tensor in enumerate(given(*GEOMETRIES[1]))]
    results = []
    for function in (read_conv, read_conv_low_memory):
        scale, shift, weight, conv_bias, *nodes = inputs
        out = function(nodes, scale, shift, weight, conv_bias, GEOMETRIES[1][1])
        results.append(torch.autograd.grad(out.pow(3).sum(), inputs[differentiable]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_equals_the_definition_under_autocast(dtype: torch.dtype) -> None:
    scale, shift, weight, conv_bias, *nodes = given(*GEOMETRIES[1], dtype)
    results = []
    for function in (read_conv, read_conv_low_memory):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = function(nodes, scale, shift, weight, conv_bias, GEOMETRIES[1][1])
        results.append((out, torch.autograd.grad(out.float().sum(), [scale, shift, weight, conv_bias, *nodes])))
    torch.testing.assert_close(results[0], results[1])
