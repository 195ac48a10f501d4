"""Reading and convolving at once against the definition."""

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
    """Gain, bias, weight, bias of the convolution and three nodes of 1, 3 and 2 channels."""
    torch.manual_seed(0)
    nodes = [made(2, width, 5, 6, dtype=dtype) for width in (1, 3, 2)]
    weight = made(9, 6 // geometry.groups, *kernel, dtype=torch.promote_types(dtype, torch.float32))
    return [*(made(size, dtype=weight.dtype) for size in (6, 6)), weight, made(9, dtype=weight.dtype), *nodes]


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("kernel", "geometry"), GEOMETRIES)
def test_the_lean_form_is_the_definition(
    kernel: tuple[int, int], geometry: Geometry, layout: torch.memory_format, biased: bool
) -> None:
    gain, bias, weight, conv_bias, *nodes = given(kernel, geometry)
    nodes = [node.detach().to(memory_format=layout).requires_grad_() for node in nodes]
    results = []
    for form in (read_conv, read_conv_low_memory):
        out = form(nodes, gain, bias, weight, conv_bias if biased else None, geometry)
        inputs = [gain, bias, weight, *nodes, *([conv_bias] if biased else [])]
        results.append((out, torch.autograd.grad(out.pow(3).sum(), inputs)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)


def test_it_keeps_the_nodes_alone() -> None:
    gain, bias, weight, _, *nodes = given(*GEOMETRIES[1])
    kept: set[int] = set()

    def note(tensor: Tensor) -> Tensor:
        kept.add(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        read_conv_low_memory(nodes, gain, bias, weight, None, GEOMETRIES[1][1])
    assert kept == {tensor.data_ptr() for tensor in (gain, bias, weight, *nodes)}


@pytest.mark.parametrize("wanted", [0, 1, 2, 3, 4])
def test_gradients_that_nobody_wants_are_left_out(wanted: int) -> None:
    inputs = [tensor.detach().requires_grad_(place == wanted) for place, tensor in enumerate(given(*GEOMETRIES[1]))]
    results = []
    for form in (read_conv, read_conv_low_memory):
        gain, bias, weight, conv_bias, *nodes = inputs
        out = form(nodes, gain, bias, weight, conv_bias, GEOMETRIES[1][1])
        results.append(torch.autograd.grad(out.pow(3).sum(), inputs[wanted]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_lean_form_under_autocast(dtype: torch.dtype) -> None:
    gain, bias, weight, conv_bias, *nodes = given(*GEOMETRIES[1], dtype)
    results = []
    for form in (read_conv, read_conv_low_memory):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = form(nodes, gain, bias, weight, conv_bias, GEOMETRIES[1][1])
        results.append((out, torch.autograd.grad(out.float().sum(), [gain, bias, weight, conv_bias, *nodes])))
    torch.testing.assert_close(results[0], results[1])
