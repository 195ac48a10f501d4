"""Reading nodes, and convolving them at once, by Triton's kernels against the definitions in float64."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from skipweave.layers import ConcatRead
from skipweave.layers.unit import Unit, bottleneck_body
from skipweave.ops import Geometry, concat_read, concat_read_low_memory, read_conv, read_conv_fast, read_conv_low_memory

pytestmark = pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0:DeprecationWarning")
GPU = torch.cuda.is_available()
PRODUCT = ["read_product", "source_gradients", "weight_products"]


@dataclass(frozen=True)
class Case:
    """Nodes of these widths, read into as many outputs."""

    widths: tuple[int, ...]
    outputs: int
    shape: tuple[int, int, int] = (2, 3, 5)  # images, height, width
    biased: bool = False

    def operands(self, device: str, dtype: torch.dtype = torch.float32, kernel: int = 1) -> list[Tensor]:
        """Gain, bias, weights and their bias, nodes: the last of these a part of a wider map."""
        torch.manual_seed(0)
        channels, (images, *size) = sum(self.widths), self.shape
        shapes = ((channels,), (channels,), (self.outputs, channels, kernel, kernel), (self.outputs,))
        parameters = [torch.randn(*shape) for shape in shapes]
        wide = [torch.randn(images, width, *size) for width in (*self.widths[:-1], self.widths[-1] + 8)]
        nodes = [node.to(device, dtype, memory_format=torch.channels_last) for node in wide]
        return [*(tensor.to(device) for tensor in parameters), *nodes[:-1], nodes[-1][:, 4 : 4 + self.widths[-1]]]


CASES = [
    Case((3, 5), 7),
    Case((24, 12, 12), 48, biased=True),
    Case((8,), 2, shape=(1, 1, 1)),
    Case((33, 64), 70, shape=(3, 7, 5)),  # more than one tile of each kind
]
SLOW_CASES = [
    Case((64, 32, 32, 32), 150, shape=(3, 9, 9)),
    Case((16,) * 20, 64, shape=(2, 8, 8), biased=True),
    Case((130,), 256, shape=(5, 7, 7)),
]


def error(ours: Tensor, exact: Tensor) -> float:
    """Relative L2 error."""
    return float((ours.double() - exact).detach().norm() / exact.detach().norm())


def errors(
    ours: Callable[[Sequence[Tensor]], Tensor],
    exact: Callable[[Sequence[Tensor]], Tensor],
    operands: Sequence[Tensor],
    dtype: torch.dtype,
) -> list[float]:
    """Errors of the result, which is of this type, and of the gradients, which are of their operands' types."""
    upstream, results = None, []
    for function, to in ((ours, lambda tensor: tensor), (exact, torch.Tensor.double)):
        given = [to(tensor.detach()).requires_grad_() for tensor in operands]
        out = function(given)
        upstream = torch.rand_like(out) if upstream is None else upstream
        results.append((out, *torch.autograd.grad(out, given, to(upstream))))
    assert [tensor.dtype for tensor in results[0]] == [dtype, *(tensor.dtype for tensor in operands)]
    return [error(*pair) for pair in zip(*results, strict=True)]


def conv_errors(operands: list[Tensor], case: Case, dtype: torch.dtype, geometry: Geometry = Geometry()) -> list[float]:  # noqa: B008
    if not case.biased:
        del operands[3]

    def run(form: Callable[..., Tensor], given: Sequence[Tensor]) -> Tensor:
        conv_bias, nodes = (given[3], given[4:]) if case.biased else (None, given[3:])
        return form(nodes, *given[:3], conv_bias, geometry)

    return errors(lambda given: run(read_conv_low_memory, given), lambda given: run(read_conv, given), operands, dtype)


@pytest.mark.parametrize("case", CASES + [pytest.param(case, marks=pytest.mark.slow) for case in SLOW_CASES])
def test_a_1x1_convolution_of_nodes_is_the_definition(case: Case, device: str, kernels: list[str]) -> None:
    assert max(conv_errors(case.operands(device), case, torch.float32)) <= 1e-6
    assert kernels == PRODUCT


def test_other_convolutions_read_into_a_map(device: str, kernels: list[str]) -> None:
    case = CASES[0]
    assert max(conv_errors(case.operands(device, kernel=3), case, torch.float32, Geometry(padding=(1, 1)))) <= 1e-6
    assert kernels == ["read", "read", "source_gradients"]
    kernels.clear()
    wide = Case((4,), 257)  # bound by arithmetic
    assert max(conv_errors(wide.operands(device), wide, torch.float32)) <= 1e-6
    assert kernels == ["read", "read", "source_gradients"]


@pytest.mark.parametrize("case", [CASES[0], pytest.param(SLOW_CASES[0], marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reading_is_the_definition(case: Case, dtype: torch.dtype, device: str, kernels: list[str]) -> None:
    gain, bias, _, _, *nodes = case.operands(device, dtype)
    found = errors(
        lambda given: concat_read_low_memory(given[2:], *given[:2]),
        lambda given: concat_read(given[2:], *given[:2]),
        [gain, bias, *nodes],
        torch.float32,  # as torch has it of half precision and float32
    )
    assert max(found) <= (1e-6 if dtype == torch.float32 else 8e-3)
    assert kernels == ["read", "source_gradients"]


# The interpreter multiplies matrices of bfloat16 as if they were whole numbers.
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16] if GPU else [torch.float16])
def test_under_autocast_half_precision_is_multiplied(dtype: torch.dtype, device: str, kernels: list[str]) -> None:
    with torch.autocast(device, dtype=dtype):
        found = conv_errors(CASES[1].operands(device, dtype), CASES[1], dtype)
    assert max(found) <= (2e-3 if dtype == torch.float16 else 1.6e-2)
    assert kernels == PRODUCT


def test_weights_can_be_of_half_precision(device: str, kernels: list[str]) -> None:
    case = CASES[1]
    operands = [tensor.half() for tensor in case.operands(device)]
    assert max(conv_errors(operands, case, torch.float16)) <= 2e-3
    assert kernels == PRODUCT


def test_nothing_but_the_nodes_is_kept(device: str, kernels: list[str]) -> None:
    gain, bias, weight, _, *nodes = (tensor.requires_grad_() for tensor in CASES[0].operands(device))
    kept: set[int] = set()

    def note(tensor: Tensor) -> Tensor:
        kept.add(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        read_conv_low_memory(nodes, gain, bias, weight)
    assert kept == {tensor.data_ptr() for tensor in (gain, bias, weight, *nodes)}
    assert kernels == ["read_product"]


@pytest.mark.parametrize(
    ("wanted", "expected"), [(0, PRODUCT[:2]), (2, [PRODUCT[0], PRODUCT[2]]), (3, PRODUCT[:1]), (5, PRODUCT[:2])]
)
def test_gradients_that_nobody_wants_are_left_out(
    wanted: int, expected: list[str], device: str, kernels: list[str]
) -> None:
    operands = [tensor.requires_grad_(at == wanted) for at, tensor in enumerate(CASES[0].operands(device))]
    gain, bias, weight, conv_bias, *nodes = operands
    read_conv_low_memory(nodes, gain, bias, weight, conv_bias).sum().backward()
    assert [tensor.grad is not None for tensor in operands] == [at == wanted for at in range(6)]
    assert kernels == expected


def test_what_is_no_number_stays_visible(device: str, kernels: list[str]) -> None:
    gain, bias, weight, _, *nodes = CASES[0].operands(device)
    nodes[0][0, 0, 0, 0] = torch.nan
    out = read_conv_fast(nodes, gain, bias, weight)
    assert out.isnan().sum() == len(weight)
    assert out[0, :, 0, 0].isnan().all()
    assert kernels == ["read_product"]


def test_contiguous_maps_take_the_other_form(device: str, kernels: list[str]) -> None:
    gain, bias, weight, _, *nodes = CASES[0].operands(device)
    read_conv_fast([node.contiguous() for node in nodes], gain, bias, weight)
    assert not kernels


def test_units_are_the_same_in_training_and_inference(device: str, kernels: list[str]) -> None:
    torch.manual_seed(0)
    unit = Unit(ConcatRead([6, 4]), bottleneck_body(10, 4), torch.nn.BatchNorm2d(4, affine=False)).to(device)
    nodes = [torch.randn(2, width, 3, 5).to(device, memory_format=torch.channels_last) for width in (6, 4)]
    results = []
    for dtype in (torch.float32, torch.float64):
        unit.to(dtype).zero_grad()
        given = [node.detach().to(dtype).requires_grad_() for node in nodes]
        out = unit.train()(*given)
        out.pow(3).sum().backward()
        with torch.no_grad():
            inferred = unit.eval()(*given)
        results.append([out, inferred, *(tensor.grad.clone() for tensor in (*unit.parameters(), *given))])
        unit.body.norm.reset_running_stats(), unit.norm.reset_running_stats()
    torch.testing.assert_close([tensor.double() for tensor in results[0]], results[1], rtol=1e-4, atol=1e-4)
    # In training the 3x3 convolution reads its map, whose gradients come first; in inference a batch norm follows.
    inner = ["read", "read", "source_gradients"]
    assert kernels == [PRODUCT[0], *inner, *PRODUCT[1:], PRODUCT[0]]


COMPILE = """
from skipweave.ops.triton import read_launch

float32, bfloat16, float16 = torch.float32, torch.bfloat16, torch.float16
for dtype, widths, outputs in ((float32, (64, 32), 128), (bfloat16, (24, 12), 48), (float16, (5,), 256)):
    nodes = [torch.ones(16, width, 56, 56, dtype=dtype).to(memory_format=torch.channels_last) for width in widths]
    gain, weight = torch.ones(sum(widths)), torch.ones(outputs, sum(widths), 1, 1, dtype=dtype)
    wanted = [True] * len(nodes)
    made = read_launch.read(nodes, gain, gain, dtype)
    read_launch.source_gradients(made, nodes, gain, gain, None, wanted)
    out = read_launch.read_product(nodes, gain, gain, weight, weight[:, 0, 0, 0])
    read_launch.source_gradients(out, nodes, gain, gain, weight, wanted)
    read_launch.weight_gradient(out, nodes, gain, gain, torch.float32)
"""


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 120])
def test_the_kernels_can_be_compiled_for_gpus(capability: int, compile_for: Callable[[int, str], list[str]]) -> None:
    each = ["read", "source_gradients", *PRODUCT]
    assert compile_for(capability, COMPILE) == 3 * each
