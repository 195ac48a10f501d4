"""Operators registered by `differentiable`: gradients of any order against torch's convolution."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from skipweave.ops.channel_sparse_operator import differentiable

CALLS: list[str] = []


def forward(x, weight, index, bias, stride, padding, dilation) -> Tensor:
    CALLS.append("forward")
    return F.conv2d(x, weight, bias, stride, padding, dilation)


def input_gradient(gradient, shape, weight, index, stride, padding, dilation) -> Tensor:
    CALLS.append("input_gradient")
    return conv2d_input(shape, weight, gradient, stride, padding, dilation)


def weight_gradient(gradient, x, shape, index, stride, padding, dilation) -> Tensor:
    CALLS.append("weight_gradient")
    return conv2d_weight(x, shape, gradient, stride, padding, dilation)


convolve = differentiable("skipweave_tests::dense", forward, input_gradient, weight_gradient)
INDEX = torch.zeros(1, 1, dtype=torch.int32)
OPTIONS = ((2, 1), (1, 0), (1, 2))


def operands() -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(*shape, dtype=torch.float64).requires_grad_() for shape in ((2, 3, 7, 6), (4, 3, 3, 2), (4,))]


def test_gradients_of_third_order_are_those_of_the_convolution() -> None:
    results = []
    for function in (lambda x, w, b: convolve(x, w, INDEX, b, *OPTIONS), lambda x, w, b: F.conv2d(x, w, b, *OPTIONS)):
        inputs = operands()
        made = [function(*inputs)]
        for _ in range(3):
            made = list(torch.autograd.grad(sum(part.pow(2).mean() for part in made), inputs, create_graph=True))
        results.append(made)
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-10)


def test_only_needed_gradients_are_computed() -> None:
    x, weight, bias = operands()
    CALLS.clear()
    convolve(x.detach(), weight, INDEX, bias.detach(), *OPTIONS).sum().backward()
    assert CALLS == ["forward", "weight_gradient"]


def test_compiled_equals_eager() -> None:
    x, weight, bias = operands()
    compiled = torch.compile(lambda *given: convolve(*given[:2], INDEX, given[2], *OPTIONS), backend="aot_eager")
    torch.testing.assert_close(compiled(x, weight, bias), convolve(x, weight, INDEX, bias, *OPTIONS))
