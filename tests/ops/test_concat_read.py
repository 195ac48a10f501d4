"""Reading concatenated nodes: the definition against batch norm, low-memory and C versions against the definition."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from skipweave.ops import concat_read, concat_read_fast, concat_read_low_memory
from skipweave.ops.cpu import node_reading

ORDERS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def operands(widths: list[int], batch: int, size: tuple[int, int], order: str) -> list[Tensor]:
    """Scale, shift and nodes."""
    torch.manual_seed(0)
    nodes = [torch.randn(batch, width, *size).to(memory_format=ORDERS[order]) for width in widths]
    return [torch.randn(sum(widths)), torch.randn(sum(widths)), *nodes]


def test_definition_is_batch_norm_of_the_concatenation() -> None:
    torch.manual_seed(0)
    nodes = [torch.randn(4, width, 5, 5, dtype=torch.float64) for width in (2, 3)]
    scale, shift = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    normalized = [F.batch_norm(node, None, None, training=True) for node in nodes]
    expected = F.batch_norm(torch.cat(nodes, 1), None, None, scale, shift, training=True).relu()
    torch.testing.assert_close(concat_read(normalized, scale, shift), expected)


def assert_equal(given: list[Tensor]) -> None:
    results, upstream = [], None
    for function, dtype in ((concat_read, torch.float64), (concat_read_low_memory, torch.float32)):
        scale, shift, *nodes = (tensor.detach().to(dtype).requires_grad_() for tensor in given)
        out = function(nodes, scale, shift)
        upstream = torch.rand_like(out) if upstream is None else upstream.to(dtype)
        results.append((out, *torch.autograd.grad(out, [scale, shift, *nodes], upstream)))
    for ours, exact in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 17)])
def test_c_library_equals_the_definition(instruction_set: str, order: str, size: tuple[int, int]) -> None:
    given = operands([3, 24, 1, 17], 2, size, order)
    assert node_reading.layout(given[2:], *given[:2]) is not None
    assert_equal(given)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 17)])
def test_c_library_rounds_only_results_to_bfloat16(instruction_set: str, order: str, size: tuple[int, int]) -> None:
    """Against the definition in float64 of the same maps."""
    scale, shift, *nodes = operands([3, 24, 1, 17, 32, 12], 2, size, order)
    nodes = [node.bfloat16() for node in nodes]
    upstream = torch.rand(2, len(scale), *size).bfloat16()
    results = []
    for function, dtype in ((concat_read, torch.float64), (concat_read_low_memory, None)):
        given = [tensor.to(dtype or tensor.dtype).detach().requires_grad_() for tensor in (scale, shift, *nodes)]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = function(given[2:], *given[:2])
        results.append((out, *torch.autograd.grad(out, given, upstream.to(out.dtype))))
    exact, ours = results
    assert [made.dtype for made in ours] == [torch.bfloat16, *[torch.float32] * 2, *[torch.bfloat16] * len(nodes)]
    for made, expected in zip(ours, exact, strict=True):
        rtol = 2**-8 if made.dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(made.double(), expected, rtol=rtol, atol=1e-5)


def test_nan_and_inf_of_bfloat16(instruction_set: str) -> None:
    node = torch.tensor([float("nan"), -1.0, 3.4e38, -float("inf"), float("inf"), -0.0]).bfloat16().view(1, 1, 2, 3)
    for scale in (1.0, 1.01):  # the second carries the largest value beyond bfloat16's range
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            read = concat_read_fast([node], torch.full((1,), scale), torch.zeros(1))
        expected = (node.float() * scale).relu().bfloat16()
        torch.testing.assert_close(read, expected, equal_nan=True, rtol=0, atol=0)


def test_bfloat16_without_autocast_follows_type_promotion() -> None:
    scale, shift, node = operands([3], 2, (4, 4), "channels_last")
    with torch.no_grad():
        assert concat_read_fast([node.bfloat16()], scale, shift).dtype == torch.float32


@pytest.mark.usefixtures("compiled_library")
@settings(max_examples=30)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=5),
    st.integers(1, 3),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from(sorted(ORDERS)),
)
def test_any_shape(widths: list[int], batch: int, size: tuple[int, int], order: str) -> None:
    assert_equal(operands(widths, batch, size, order))


@pytest.mark.usefixtures("compiled_library")
@pytest.mark.parametrize("order", ORDERS)
def test_views_of_larger_maps_are_read_without_copies(order: str) -> None:
    scale, shift, whole = operands([9], 3, (4, 5), order)
    nodes = whole.split([2, 6, 1], dim=1)
    assert node_reading.layout(nodes, scale, shift) == ORDERS[order]
    torch.testing.assert_close(concat_read_fast(nodes, scale, shift), concat_read([whole], scale, shift))
    assert_equal([scale, shift, *nodes])


@pytest.mark.usefixtures("compiled_library")
@pytest.mark.parametrize("order", ORDERS)
def test_threads_change_only_rounding(order: str) -> None:
    given = operands([24, 40], 2, (33, 31), order)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        scale, shift, *nodes = (tensor.clone().requires_grad_() for tensor in given)
        out = concat_read_low_memory(nodes, scale, shift)
        results.append((out, *torch.autograd.grad(out.square().sum(), [scale, shift, *nodes])))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("compiled_library")
def test_nan_and_inf_propagate_as_through_relu() -> None:
    node = torch.tensor([float("nan"), -1.0, 2.0, -float("inf"), float("inf"), -0.0]).view(1, 1, 2, 3)
    scale, shift = torch.ones(1), torch.zeros(1)
    with torch.no_grad():
        torch.testing.assert_close(concat_read_fast([node], scale, shift), node.relu(), equal_nan=True)


@pytest.mark.parametrize("differentiable", [0, 1, 2, 3])
def test_gradients_are_computed_only_where_needed(differentiable: int) -> None:
    given = operands([2, 3], 2, (4, 4), "contiguous")
    expected = None
    for function in (concat_read, concat_read_low_memory):
        inputs = [tensor.clone().requires_grad_(at == differentiable) for at, tensor in enumerate(given)]
        function(inputs[2:], *inputs[:2]).pow(2).sum().backward()
        grads = [tensor.grad for tensor in inputs]
        assert [grad is not None for grad in grads] == [at == differentiable for at in range(4)]
        expected = expected or grads
        torch.testing.assert_close(grads[differentiable], expected[differentiable], rtol=1e-4, atol=1e-4)


def test_mixed_memory_formats_are_read_by_torch() -> None:
    scale, shift, one, other = operands([2, 3], 2, (4, 4), "contiguous")
    nodes = [one, other.to(memory_format=torch.channels_last)]
    assert node_reading.layout(nodes, scale, shift) is None
    assert_equal([scale, shift, *nodes])


def test_vmap_runs_torch_operators() -> None:
    scale, shift, node = operands([3], 4, (2, 2), "contiguous")
    with torch.no_grad():
        mapped = torch.vmap(lambda x: concat_read_fast([x[None]], scale, shift)[0])(node)
    torch.testing.assert_close(mapped, concat_read([node], scale, shift))


def test_compilers_trace_torch_operators() -> None:
    scale, shift, *nodes = operands([3, 2], 2, (4, 4), "contiguous")
    with torch.no_grad():
        compiled = torch.compile(concat_read_fast, backend="eager", fullgraph=True)(nodes, scale, shift)
    assert torch.equal(compiled, concat_read(nodes, scale, shift))


@pytest.mark.parametrize("order", ORDERS)
def test_shapes_that_do_not_match_raise(order: str) -> None:
    """The C library would read out of bounds."""
    scale, shift, *nodes = operands([3, 5], 2, (4, 6), order)
    for smaller in (nodes[1][:1], nodes[1][:, :, :3], nodes[1][:, :4]):
        with pytest.raises(RuntimeError):
            concat_read_fast([nodes[0], smaller.contiguous(memory_format=ORDERS[order])], scale, shift)
    with pytest.raises(RuntimeError):
        concat_read_fast(nodes, scale[:7], shift[:7])
