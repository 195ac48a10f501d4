"""`convolve` and its weight gradient against torch's."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from skipweave.models import create_model
from skipweave.ops import Geometry, convolution, convolve
from skipweave.ops.convolution import weight_gradient

SHAPES = [
    ((1, 1), Geometry(), (7, 7)),
    ((3, 3), Geometry(padding=(1, 1)), (5, 5)),
    ((3, 3), Geometry(padding=(1, 1)), (1, 2)),
    ((3, 2), Geometry(stride=(2, 1), padding=(2, 1), dilation=(1, 2)), (6, 5)),
    ((5, 5), Geometry(stride=(3, 2)), (8, 9)),
]


def made(*shape: int, layout: torch.memory_format = torch.channels_last, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype).to(memory_format=layout).requires_grad_()


@pytest.fixture
def amx(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """A processor with AMX, whatever this one has; the shapes of weights whose gradient is a product."""
    products: list[tuple[int, ...]] = []

    def noted(grad_output: Tensor, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        products.append(tuple(weight.shape))
        return weight_gradient(grad_output, x, weight, geometry)

    monkeypatch.setattr(convolution, "has_amx", lambda: True)
    monkeypatch.setattr(convolution, "weight_gradient", noted)
    return products


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("kernel", "geometry", "size"), SHAPES)
def test_weight_gradient_is_that_of_torch(
    kernel: tuple[int, int], geometry: Geometry, size: tuple[int, int], layout: torch.memory_format
) -> None:
    x, weight = made(3, 4, *size, layout=layout), made(6, 4, *kernel)
    out = F.conv2d(x, weight, None, *geometry)
    grad = made(*out.shape, layout=layout).detach()
    torch.testing.assert_close(weight_gradient(grad, x, weight, geometry), torch.autograd.grad(out, weight, grad)[0])


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("kernel", "geometry", "size"), SHAPES)
def test_under_autocast_convolve_is_conv2d_of_rounded_operands(
    kernel: tuple[int, int], geometry: Geometry, size: tuple[int, int], biased: bool, amx: list[Any]
) -> None:
    """torch's weight gradients are no reference: without bfloat16 instructions they are sums of rounded numbers."""
    operands = [made(3, 64, *size, dtype=torch.float32), made(128, 64, *kernel, dtype=torch.float32)]
    operands += [torch.randn(128).requires_grad_()] if biased else []
    bias = [None] * (3 - len(operands))
    with torch.autocast("cpu", torch.bfloat16):
        out = convolve(*operands, *bias, geometry)
        theirs = F.conv2d(*operands, *bias, *geometry)
    found, reference = (torch.autograd.grad(one.float().square().sum(), operands) for one in (out, theirs))
    torch.testing.assert_close(found[:1] + found[2:], reference[:1] + reference[2:], rtol=2**-6, atol=1e-5)
    rounded = [one.detach().bfloat16().double().requires_grad_() for one in operands]
    exact = F.conv2d(*rounded, *bias, *geometry)
    (weight,) = torch.autograd.grad(exact, rounded[1], 2 * out.double())
    for one, expected in ((out, exact), (found[1], weight)):
        largest = float(expected.detach().abs().max())
        torch.testing.assert_close(one.double(), expected, rtol=2**-7, atol=1e-3 * largest)
    assert amx == [(128, 64, *kernel)]


@pytest.mark.parametrize(
    ("channels", "outputs", "kernel", "side", "product"),
    [
        (64, 80, 3, 4, True),
        (64, 79, 3, 4, False),
        (63, 80, 3, 4, False),
        (64, 64, 1, 7, True),
        (64, 64, 1, 8, False),
        (63, 64, 1, 7, False),
        (64, 63, 1, 7, False),
    ],
)
def test_where_the_weight_gradient_is_a_product(
    channels: int, outputs: int, kernel: int, side: int, product: bool, amx: list[Any]
) -> None:
    x = made(2, channels, side, side, dtype=torch.bfloat16)
    weight = made(outputs, channels, kernel, kernel, dtype=torch.bfloat16)
    convolve(x, weight, None, Geometry(padding=(kernel // 2,) * 2)).square().sum().backward()
    assert bool(amx) == product


def test_no_product_in_float32_groups_or_contiguous_maps(amx: list[Any]) -> None:
    convolve(made(2, 64, 3, 3, dtype=torch.float32), made(64, 64, 1, 1, dtype=torch.float32)).square().sum().backward()
    x, weight = made(2, 128, 3, 3, dtype=torch.bfloat16), made(64, 64, 1, 1, dtype=torch.bfloat16)
    convolve(x, weight, None, Geometry(groups=2)).square().sum().backward()
    x, weight = made(2, 64, 3, 3, layout=torch.contiguous_format, dtype=torch.bfloat16), made(64, 64, 3, 3)
    convolve(x, weight.to(torch.bfloat16), None, Geometry(padding=(1, 1))).square().sum().backward()
    assert amx == []


def test_second_derivatives_are_those_of_conv2d(amx: list[Any]) -> None:
    x, weight = made(2, 64, 3, 3, dtype=torch.bfloat16), made(64, 64, 3, 3, dtype=torch.bfloat16)
    geometry = Geometry(padding=(1, 1))
    results = []
    for out in (convolve(x, weight, None, geometry), F.conv2d(x, weight, None, *geometry)):
        (grad,) = torch.autograd.grad(out.float().pow(2).sum(), weight, create_graph=True)
        results.append(torch.autograd.grad(grad.float().pow(2).sum(), [x, weight]))
    assert {*amx} == {(64, 64, 3, 3)}
    torch.testing.assert_close(*results, rtol=0.05, atol=0.05 * float(results[1][0].abs().max()))


@pytest.mark.parametrize(
    "needed", [(True, False, False), (False, True, False), (False, False, True), (True, True, True)]
)
def test_gradients_are_computed_only_where_needed(needed: tuple[bool, ...], amx: list[Any]) -> None:
    x, weight = made(2, 64, 3, 3, dtype=torch.bfloat16), made(64, 64, 1, 1, dtype=torch.bfloat16)
    operands = [x, weight, torch.randn(64, dtype=torch.bfloat16)]
    for operand, need in zip(operands, needed, strict=True):
        operand.requires_grad_(need)
    convolve(*operands).square().sum().backward()
    assert [operand.grad is not None for operand in operands] == [*needed]
    assert bool(amx) == needed[1]


def test_an_empty_batch_and_a_map_without_batch(amx: list[Any]) -> None:
    weight = made(64, 64, 1, 1, dtype=torch.bfloat16)
    convolve(made(0, 64, 3, 3, dtype=torch.bfloat16), weight).square().sum().backward()
    assert weight.grad is not None
    assert not weight.grad.any()
    assert convolve(torch.randn(64, 3, 3, dtype=torch.bfloat16), weight).shape == (64, 3, 3)


def test_data_types_are_mixed_only_under_autocast(amx: list[Any]) -> None:
    x, weight = made(2, 64, 3, 3, dtype=torch.float32), made(64, 64, 1, 1, dtype=torch.bfloat16)
    with pytest.raises(RuntimeError):
        convolve(x, weight)


def test_saves_what_conv2d_saves_under_autocast(amx: list[Any]) -> None:
    x, weight = made(2, 64, 3, 3, dtype=torch.float32), made(64, 64, 1, 1, dtype=torch.float32)
    sizes: list[set[tuple[torch.dtype, int]]] = []
    for function in (convolve, F.conv2d):
        saved: set[tuple[torch.dtype, int]] = set()

        def note(tensor: Tensor, saved: set[tuple[torch.dtype, int]] = saved) -> Tensor:
            saved.add((tensor.dtype, tensor.numel()))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t), torch.autocast("cpu", torch.bfloat16):
            function(x, weight)
        sizes.append(saved)
    assert sizes[0] == sizes[1]
    assert amx == []


@pytest.mark.parametrize(
    ("name", "size", "convolutions"),
    [
        ("sparsenet_fast_96", 16, 3 + 3 + 2),  # stages of 3x3 and 1x1 pixels, transitions at 7x7 and 3x3
        ("densenet121_32", 64, 24 + 1 + 16),  # 1x1 convolutions of stages of 4x4 and 2x2 pixels, and between them
    ],
)
def test_networks_in_training_use_it(name: str, size: int, convolutions: int, amx: list[Any]) -> None:
    network = create_model(name, num_classes=2).train().to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        network(made(2, 3, size, size, dtype=torch.float32)).float().square().sum().backward()
    assert len(amx) == convolutions


def test_checkpointed_units_keep_the_convolutions_of_torch_which_are_not_recomputed(amx: list[Any]) -> None:
    network = create_model("sparsenet_fast_96", num_classes=2).train().to(memory_format=torch.channels_last)
    network.set_grad_checkpointing()
    with torch.autocast("cpu", torch.bfloat16):
        network(made(2, 3, 16, 16, dtype=torch.float32)).float().square().sum().backward()
    assert {kernel for *_, kernel in amx} <= {1}  # transitions at most
