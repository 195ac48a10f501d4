"""Reading nodes in C against the definition, forward and backward."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from skipweave.ops import concat_read, concat_read_fast, concat_read_low_memory
from skipweave.ops.cpu import node_reading

ORDERS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def operands(widths: list[int], batch: int, size: tuple[int, int], order: str) -> list[Tensor]:
    """Gains, biases and nodes."""
    torch.manual_seed(0)
    nodes = [torch.randn(batch, width, *size).to(memory_format=ORDERS[order]) for width in widths]
    return [torch.randn(sum(widths)), torch.randn(sum(widths)), *nodes]


def assert_equal(given: list[Tensor]) -> None:
    results, upstream = [], None
    for form, dtype in ((concat_read, torch.float64), (concat_read_low_memory, torch.float32)):
        gain, bias, *nodes = (tensor.detach().to(dtype).requires_grad_() for tensor in given)
        out = form(nodes, gain, bias)
        upstream = torch.rand_like(out) if upstream is None else upstream.to(dtype)
        results.append((out, *torch.autograd.grad(out, [gain, bias, *nodes], upstream)))
    for ours, exact in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 17)])
def test_it_is_the_definition(instruction_set: str, order: str, size: tuple[int, int]) -> None:
    given = operands([3, 24, 1, 17], 2, size, order)
    assert node_reading.layout(given[2:], *given[:2]) is not None
    assert_equal(given)


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
def test_parts_of_larger_maps_are_read_where_they_are(order: str) -> None:
    gain, bias, whole = operands([9], 3, (4, 5), order)
    nodes = whole.split([2, 6, 1], dim=1)
    assert node_reading.layout(nodes, gain, bias) == ORDERS[order]
    torch.testing.assert_close(concat_read_fast(nodes, gain, bias), concat_read([whole], gain, bias))
    assert_equal([gain, bias, *nodes])


@pytest.mark.usefixtures("compiled_library")
@pytest.mark.parametrize("order", ORDERS)
def test_threads_change_nothing_but_rounding(order: str) -> None:
    given = operands([24, 40], 2, (33, 31), order)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        gain, bias, *nodes = (tensor.clone().requires_grad_() for tensor in given)
        out = concat_read_low_memory(nodes, gain, bias)
        results.append((out, *torch.autograd.grad(out.square().sum(), [gain, bias, *nodes])))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("compiled_library")
def test_what_is_no_number_passes_as_through_relu() -> None:
    node = torch.tensor([float("nan"), -1.0, 2.0, -float("inf"), float("inf"), -0.0]).view(1, 1, 2, 3)
    gain, bias = torch.ones(1), torch.zeros(1)
    with torch.no_grad():
        torch.testing.assert_close(concat_read_fast([node], gain, bias), node.relu(), equal_nan=True)


@pytest.mark.parametrize("wanted", [0, 1, 2, 3])
def test_gradients_that_nobody_wants_are_left_out(wanted: int) -> None:
    given = operands([2, 3], 2, (4, 4), "contiguous")
    expected = None
    for form in (concat_read, concat_read_low_memory):
        inputs = [tensor.clone().requires_grad_(place == wanted) for place, tensor in enumerate(given)]
        form(inputs[2:], *inputs[:2]).pow(2).sum().backward()
        grads = [tensor.grad for tensor in inputs]
        assert [grad is not None for grad in grads] == [place == wanted for place in range(4)]
        expected = expected or grads
        torch.testing.assert_close(grads[wanted], expected[wanted], rtol=1e-4, atol=1e-4)


def test_orders_that_are_mixed_are_read_by_torch() -> None:
    gain, bias, one, other = operands([2, 3], 2, (4, 4), "contiguous")
    nodes = [one, other.to(memory_format=torch.channels_last)]
    assert node_reading.layout(nodes, gain, bias) is None
    assert_equal([gain, bias, *nodes])


def test_transforms_of_functions_see_torch_s_own_operations() -> None:
    gain, bias, node = operands([3], 4, (2, 2), "contiguous")
    with torch.no_grad():
        mapped = torch.vmap(lambda x: concat_read_fast([x[None]], gain, bias)[0])(node)
    torch.testing.assert_close(mapped, concat_read([node], gain, bias))


def test_compilers_see_torch_s_own_operations() -> None:
    gain, bias, *nodes = operands([3, 2], 2, (4, 4), "contiguous")
    with torch.no_grad():
        compiled = torch.compile(concat_read_fast, backend="eager", fullgraph=True)(nodes, gain, bias)
    assert torch.equal(compiled, concat_read(nodes, gain, bias))


@pytest.mark.parametrize("order", ORDERS)
def test_maps_and_gains_that_do_not_match_are_left_to_torch(order: str) -> None:
    """C would read beyond them."""
    gain, bias, *nodes = operands([3, 5], 2, (4, 6), order)
    for smaller in (nodes[1][:1], nodes[1][:, :, :3], nodes[1][:, :4]):
        with pytest.raises(RuntimeError):
            concat_read_fast([nodes[0], smaller.contiguous(memory_format=ORDERS[order])], gain, bias)
    with pytest.raises(RuntimeError):
        concat_read_fast(nodes, gain[:7], bias[:7])
