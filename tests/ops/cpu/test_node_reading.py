"""The C library's cross-layer convolution against its definition."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from skipweave.ops import cross_layer, cross_layer_fast
from skipweave.ops.cpu import node_reading

ORDERS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def operands(count: int, shape: Sequence[int], order: str) -> list[Tensor]:
    """Weights, biases and nodes."""
    torch.manual_seed(0)
    nodes = [torch.randn(*shape).to(memory_format=ORDERS[order]) for _ in range(count)]
    return [torch.randn(count, shape[1]), torch.randn(shape[1]), *nodes]


def assert_equal(given: list[Tensor]) -> None:
    results, upstream = [], torch.randn_like(given[2])
    for function, dtype in ((cross_layer, torch.float64), (cross_layer_fast, torch.float32)):
        weight, bias, *nodes = (tensor.detach().to(dtype).requires_grad_() for tensor in given)
        out = function(nodes, weight, bias)
        results.append((out, *torch.autograd.grad(out, [weight, bias, *nodes], upstream.to(dtype))))
    for ours, exact in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (3, 17, 5, 7), (2, 70, 8, 8), (2, 2, 65, 70)], ids=str)
def test_equals_the_definition(instruction_set: str, order: str, shape: tuple[int, ...]) -> None:
    """Includes tiles with several channels, and channels with several tiles."""
    given = operands(3, shape, order)
    assert node_reading.layout(given[2:], *given[:2]) is not None
    assert_equal(given)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(3, 17, 5, 7), (2, 70, 8, 8), (2, 2, 65, 70)], ids=str)
def test_rounds_only_results_to_bfloat16(instruction_set: str, order: str, shape: tuple[int, ...]) -> None:
    """Against the definition in float64 of the same maps."""
    weight, bias, *nodes = operands(3, shape, order)
    nodes, upstream = [node.bfloat16() for node in nodes], torch.randn(shape).bfloat16()
    results = []
    for function, dtype in ((cross_layer, torch.float64), (cross_layer_fast, None)):
        given = [tensor.to(dtype or tensor.dtype).detach().requires_grad_() for tensor in (weight, bias, *nodes)]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = function(given[2:], *given[:2])
        results.append((out, *torch.autograd.grad(out, given, upstream.to(out.dtype))))
    exact, ours = results
    assert [made.dtype for made in ours] == [torch.bfloat16, *[torch.float32] * 2, *[torch.bfloat16] * 3]
    for made, expected in zip(ours, exact, strict=True):
        rtol = 2**-8 if made.dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(made.double(), expected, rtol=rtol, atol=1e-4)


@pytest.mark.usefixtures("compiled_library")
@settings(max_examples=30)
@given(
    st.integers(1, 6),
    st.tuples(st.integers(0, 3), st.integers(1, 20), st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from(sorted(ORDERS)),
)
def test_any_shape(count: int, shape: tuple[int, ...], order: str) -> None:
    assert_equal(operands(count, shape, order))


@pytest.mark.usefixtures("compiled_library")
@pytest.mark.parametrize("order", ORDERS)
def test_results_have_the_memory_format_of_the_nodes(order: str) -> None:
    weight, bias, *nodes = operands(2, (2, 3, 4, 5), order)
    nodes = [node.requires_grad_() for node in nodes]
    out = cross_layer_fast(nodes, weight, bias)
    unordered = torch.ones_like(out, memory_format=torch.contiguous_format)
    for made in (out, *torch.autograd.grad(out, nodes, unordered)):
        assert made.is_contiguous(memory_format=ORDERS[order])


@pytest.mark.usefixtures("compiled_library")
@pytest.mark.parametrize("order", ORDERS)
def test_views_of_larger_maps_are_read_without_copies(order: str) -> None:
    weight, bias, whole = operands(1, (3, 9, 4, 5), order)
    nodes = whole.split(3, dim=1)
    assert node_reading.layout(nodes, weight, bias) == ORDERS[order]
    assert_equal([weight.view(3, 3), bias[:3], *nodes])


@pytest.mark.parametrize("step", [(..., slice(None, None, 2)), (..., slice(None, None, 2), slice(None))], ids=str)
def test_strided_pixels_are_read_by_torch(step: tuple[object, ...]) -> None:
    weight, bias, *nodes = operands(2, (2, 3, 6, 8), "contiguous")
    nodes = [node[step] for node in nodes]
    assert node_reading.layout(nodes, weight, bias) is None
    assert_equal([weight, bias, *nodes])


def test_mixed_memory_formats_are_read_by_torch() -> None:
    weight, bias, one, other = operands(2, (2, 3, 4, 4), "contiguous")
    nodes = [one, other.to(memory_format=torch.channels_last)]
    assert node_reading.layout(nodes, weight, bias) is None
    assert_equal([weight, bias, *nodes])


@pytest.mark.usefixtures("compiled_library")
@pytest.mark.parametrize("order", ORDERS)
def test_weights_and_gradients_may_have_any_strides(order: str) -> None:
    weight, bias, *nodes = operands(3, (2, 5, 4, 4), order)
    assert_equal([weight.T.contiguous().T, torch.stack([bias, bias], dim=1)[:, 0], *nodes])
    given = [tensor.requires_grad_() for tensor in (weight, bias, *nodes)]
    grads = [
        torch.autograd.grad(function(given[2:], *given[:2]).sum(), given)
        for function in (cross_layer, cross_layer_fast)
    ]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("compiled_library")
@pytest.mark.parametrize("order", ORDERS)
def test_threads_change_only_rounding(order: str) -> None:
    given = operands(3, (2, 24, 33, 31), order)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        weight, bias, *nodes = (tensor.clone().requires_grad_() for tensor in given)
        out = cross_layer_fast(nodes, weight, bias)
        results.append((out, *torch.autograd.grad(out.square().sum(), [weight, bias, *nodes])))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-5, atol=1e-3)
        for map_, first in zip((other[0], *other[3:]), (results[0][0], *results[0][3:]), strict=True):
            assert torch.equal(map_, first)


@pytest.mark.parametrize("differentiable", [0, 1, 2, 3])
def test_gradients_are_computed_only_where_needed(differentiable: int) -> None:
    given = operands(2, (2, 3, 4, 4), "contiguous")
    grads = []
    for function in (cross_layer, cross_layer_fast):
        inputs = [tensor.clone().requires_grad_(at == differentiable) for at, tensor in enumerate(given)]
        function(inputs[2:], *inputs[:2]).square().sum().backward()
        assert [tensor.grad is not None for tensor in inputs] == [at == differentiable for at in range(4)]
        grads.append(inputs[differentiable].grad)
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("nodes", "weight", "bias"),
    [
        ([(2, 3, 4, 4), (2, 3, 5, 5)], (2, 3), (3,)),
        ([(2, 3, 4, 4), (2, 3, 4, 4)], (3, 3), (3,)),
        ([(2, 3, 4, 4), (2, 3, 4, 4)], (2, 4), (3,)),
        ([(2, 3, 4, 4), (2, 3, 4, 4)], (2, 3), (2,)),
    ],
)
def test_shapes_that_do_not_match_raise(
    nodes: list[tuple[int, ...]], weight: tuple[int, ...], bias: tuple[int, ...]
) -> None:
    with pytest.raises((RuntimeError, ValueError)):
        cross_layer_fast([torch.zeros(shape) for shape in nodes], torch.zeros(weight), torch.zeros(bias))


def test_torch_func_runs_the_definition() -> None:
    weight, bias, *nodes = operands(2, (4, 3, 2, 2), "contiguous")
    mapped = torch.vmap(lambda x, y: cross_layer_fast([x[None], y[None]], weight, bias)[0])(*nodes)
    torch.testing.assert_close(mapped, cross_layer(nodes, weight, bias))
    by_weight = torch.func.grad(lambda w: cross_layer_fast(nodes, w, bias).square().sum())(weight)
    expected = torch.func.grad(lambda w: cross_layer(nodes, w, bias).square().sum())(weight)
    torch.testing.assert_close(by_weight, expected)


def test_compilers_trace_the_definition() -> None:
    weight, bias, *nodes = operands(2, (2, 3, 4, 4), "contiguous")
    with torch.no_grad():
        compiled = torch.compile(cross_layer_fast, backend="eager", fullgraph=True)(nodes, weight, bias)
    assert torch.equal(compiled, cross_layer(nodes, weight, bias))
