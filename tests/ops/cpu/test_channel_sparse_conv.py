"""The C library against the dense convolution, with every instruction set of the processor."""

import shutil
from unittest.mock import patch

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from skipweave.ops import channel_sparse_conv2d, channel_sparse_dense, channel_sparse_dispatch, implementation_for
from skipweave.ops.cpu import c_library
from skipweave.ops.cpu.channel_sparse_conv import channel_sparse_library
from tests.ops.shapes import Case, assert_exact, cases, errors


def test_library_is_built_if_there_is_a_compiler() -> None:
    problem = c_library.library().problem
    assert not problem or not any(map(shutil.which, ("cc", "gcc", "clang"))), problem


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("width", [7, 8, 14, 17, 28, 35, 56])
def test_exact_for_common_widths(instruction_set: str, width: int, kernel: int) -> None:
    padding = (kernel // 2, kernel // 2)
    assert_exact(Case(3, 20, 16, width, width, (kernel, kernel), padding=padding, fan_in=5, rows=16))


@pytest.mark.parametrize("batch", [1, 5, 16])
def test_exact_for_channels_larger_than_the_caches(instruction_set: str, batch: int) -> None:
    assert_exact(Case(batch, 700, 24, 7, 7, (1, 1), fan_in=70, rows=24))
    assert_exact(Case(batch, 700, 8, 7, 7, (3, 3), padding=(1, 1), fan_in=70, rows=8))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_exact_for_any_shape(instruction_set: str, case: Case) -> None:
    assert_exact(case)


@pytest.mark.usefixtures("compiled_library")
def test_input_gradient_of_a_kernel_as_large_as_the_map_is_dense() -> None:
    """The library would visit 49 positions per link, of which all but one are padding."""
    case = Case(3, 20, 16, 7, 7, (7, 7), fan_in=2, rows=16)
    with patch("skipweave.ops.cpu.channel_sparse_calls.input_gradient") as library_gradient:
        assert max(errors(case)) <= 2e-6
    assert not library_gradient.called


@pytest.mark.usefixtures("compiled_library")
@pytest.mark.parametrize("kernel", [1, 3])
def test_threads_do_not_change_results(kernel: int) -> None:
    x, weight, index, bias = Case(2, 20, 24, 30, 30, (kernel, kernel), fan_in=6, rows=24).operands()
    upstream = None
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        operands = [tensor.clone().requires_grad_() for tensor in (x, weight)]
        out = channel_sparse_library(operands[0], operands[1], index, bias)
        upstream = torch.rand_like(out) if upstream is None else upstream
        results.append((out, *torch.autograd.grad(out, operands, upstream)))
    for others in results[1:]:
        for one, other, tolerance in zip(results[0], others, (0, 0, 1e-5), strict=True):
            torch.testing.assert_close(one, other, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.usefixtures("compiled_library")
def test_strides_do_not_change_results() -> None:
    x, weight, index, _ = Case(2, 20, 24, 9, 9, (3, 3), fan_in=6, rows=24).operands()
    expected = channel_sparse_library(x, weight, index)
    loose = weight.repeat_interleave(2, dim=1)[:, ::2]
    ours = channel_sparse_library(x.to(memory_format=torch.channels_last), loose, index)
    torch.testing.assert_close(ours, expected, rtol=0, atol=0)


@pytest.mark.usefixtures("compiled_library")
def test_index_out_of_range_raises() -> None:
    x, weight, index, _ = Case(2, 20, 24, 9, 9, (3, 3), fan_in=6, rows=24).operands()
    for wrong in (index + 20, index - 20):
        with pytest.raises(IndexError, match="19"):
            channel_sparse_library(x, weight, wrong)


@pytest.mark.usefixtures("compiled_library")
def test_gradients_are_computed_only_where_needed() -> None:
    x, weight, index, bias = Case(2, 20, 24, 9, 9, (3, 3), fan_in=6, rows=24).operands()
    channel_sparse_library(x, weight.requires_grad_(), index, bias).sum().backward()
    assert [tensor.grad is not None for tensor in (x, weight, bias)] == [False, True, False]


@pytest.mark.usefixtures("compiled_library")
@pytest.mark.parametrize("order", [2, 3])
def test_higher_derivatives_are_those_of_the_definition(order: int) -> None:
    x, weight, index, bias = Case(2, 20, 24, 9, 9, (3, 3), fan_in=6, rows=24).operands()
    results = []
    for function, dtype in ((channel_sparse_library, torch.float32), (channel_sparse_dense, torch.float64)):
        inputs = [part.detach().to(dtype).requires_grad_() for part in (x, weight, bias)]
        made = [function(inputs[0], inputs[1], index, inputs[2], (2, 1), (1, 0))]
        for _ in range(order):
            made = torch.autograd.grad(sum(part.pow(2).mean() for part in made), inputs, create_graph=True)
        results.append(made)
    for ours, exact in zip(*results, strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-5 * exact.abs().max().item())


@pytest.mark.usefixtures("compiled_library")
def test_registered_operators() -> None:
    x, weight, index, bias = Case(2, 6, 4, 9, 9, (3, 3), fan_in=3, rows=4).operands()
    gradient, options = torch.rand(2, 4, 5, 5), ([2, 2], [1, 1], [1, 1])
    for name, operands in {
        "channel_sparse": (x, weight, index, bias, *options),
        "channel_sparse_input_gradient": (gradient, [2, 6, 9, 9], weight, index, *options),
        "channel_sparse_weight_gradient": (gradient, x, [4, 3, 3, 3], index, *options),
    }.items():
        operator = getattr(torch.ops.skipweave, name).default
        torch.library.opcheck(operator, operands, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.usefixtures("compiled_library")
def test_compiled_equals_eager() -> None:
    case = Case(2, 6, 4, 9, 9, (3, 3), fan_in=3, rows=4)
    x, weight, index, bias = case.operands()
    compiled = torch.compile(channel_sparse_library, backend="aot_eager", fullgraph=True)
    results = []
    for function in (channel_sparse_library, compiled):
        operands = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
        out = function(operands[0], operands[1], index, operands[2], (1, 1), (1, 1), (1, 1))
        results.append((out, *torch.autograd.grad(out.square().sum(), operands)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("compiled_library")
def test_chosen_where_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_sparse_dispatch, "break_even", lambda kernel: 0.5)
    x, weight, index, bias = Case(1, 8, 4, 5, 5, (3, 3), fan_in=4, rows=4).operands()
    assert implementation_for(x, weight, index).name == "library"
    assert implementation_for(x[:, :7], weight, index).name == "dense"
    assert implementation_for(x.double(), weight.double(), index).name == "dense"
    assert implementation_for(x, weight, index, (3, 1)).name == "dense"
    assert implementation_for(x, weight, index.long()).name == "dense"
    assert implementation_for(x.to("meta"), weight.to("meta"), index).name == "dense"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert implementation_for(x, weight, index).name == "dense"
    torch.testing.assert_close(
        channel_sparse_conv2d(x, weight, index, bias), channel_sparse_dense(x, weight, index, bias)
    )


def test_other_implementations_run_without_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(c_library, "FOLDER", tmp_path)
    hidden = c_library.library.__wrapped__()
    assert "not built" in hidden.problem
    monkeypatch.setattr(c_library, "library", lambda: hidden)
    x, weight, index, bias = Case(1, 8, 16, 5, 5, (3, 3), fan_in=2, rows=16).operands()
    assert hidden.problem in implementation_for(x, weight, index).reason
    assert implementation_for(x, weight, index[::8]).name == "shared"
    for rows in (index, index[::8]):
        ours = channel_sparse_conv2d(x, weight, rows, bias)
        torch.testing.assert_close(ours, channel_sparse_dense(x, weight, rows, bias))


def test_invalid_library_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "library.so").write_bytes(b"no library")
    monkeypatch.setattr(c_library, "FOLDER", tmp_path)
    assert c_library.library.__wrapped__().problem != ""
    if not (library := c_library.library()).problem:
        shutil.copy(library.path, tmp_path)
        (tmp_path / "other.h").write_text("/* another source */")
        assert c_library.library.__wrapped__().problem != ""
