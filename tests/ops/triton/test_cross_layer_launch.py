"""Triton kernels of the cross-layer convolution against the definition in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from skipweave.ops import cross_layer, cross_layer_fast

pytestmark = pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0:DeprecationWarning")


def operands(nodes: int, shape: tuple[int, ...], device: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(0)
    maps = [torch.randn(*shape).to(device, dtype, memory_format=torch.channels_last) for _ in range(nodes)]
    return [torch.randn(nodes, shape[1], device=device), torch.randn(shape[1], device=device), *maps]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("nodes", "shape"),
    [
        (1, (1, 1, 1, 1)),
        (3, (2, 5, 3, 4)),
        (2, (3, 130, 7, 5)),  # more than one tile of each kind
        pytest.param(17, (3, 48, 14, 13), marks=pytest.mark.slow),
    ],
)
def test_equals_the_definition(
    nodes: int, shape: tuple[int, ...], dtype: torch.dtype, device: str, kernels: list[str]
) -> None:
    given, results, upstream = operands(nodes, shape, device, dtype), [], None
    for function, to in ((cross_layer_fast, lambda tensor: tensor), (cross_layer, Tensor.double)):
        weight, bias, *maps = leaves = [to(tensor).detach().requires_grad_() for tensor in given]
        out = function(maps, weight, bias)
        upstream = torch.rand_like(out) if upstream is None else upstream
        results.append((out, *torch.autograd.grad(out, leaves, to(upstream))))
    assert [tensor.dtype for tensor in results[0]] == [torch.float32, *(tensor.dtype for tensor in given)]
    for ours, exact in zip(*results, strict=True):
        most = 1e-6 if ours.dtype == torch.float32 else 8e-3
        assert (ours.double() - exact).norm() <= most * exact.norm()
    assert kernels == ["cross_sum", "cross_gradients"]


def test_gradients_are_computed_only_where_needed(device: str, kernels: list[str]) -> None:
    given = [tensor.requires_grad_(at == 3) for at, tensor in enumerate(operands(2, (2, 5, 3, 4), device))]
    weight, bias, *nodes = given
    cross_layer_fast(nodes, weight, bias).sum().backward()
    assert [tensor.grad is not None for tensor in given] == [False, False, False, True]
    torch.testing.assert_close(nodes[1].grad, weight[1].view(-1, 1, 1).expand_as(nodes[1]))
    assert kernels == ["cross_sum", "cross_gradients"]


def test_contiguous_maps_are_read_by_torch(device: str, kernels: list[str]) -> None:
    weight, bias, *nodes = operands(2, (2, 5, 3, 4), device)
    cross_layer_fast([nodes[0], nodes[1].contiguous()], weight, bias)
    assert not kernels


COMPILE = """
from skipweave.ops.triton import cross_layer_launch

for dtype, width in ((torch.float32, 64), (torch.bfloat16, 192), (torch.float16, 5)):
    nodes = 3 * [torch.ones(16, width, 56, 56, dtype=dtype).to(memory_format=torch.channels_last)]
    weight = torch.ones(3, width)
    out = cross_layer_launch.cross_sum(nodes, weight, weight[0], dtype)
    cross_layer_launch.cross_gradients(out, nodes, weight, [True] * 3)
"""


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 120])
def test_kernels_compile_for_gpus(capability: int, compile_for: Callable[[int, str], list[str]]) -> None:
    assert compile_for(capability, COMPILE) == 3 * ["cross_sum", "cross_gradients"]
