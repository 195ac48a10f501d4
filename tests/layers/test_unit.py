"""Units and node norms against plain calls of their modules."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from skipweave.layers import (
    ConcatRead,
    CrossRead,
    NodeNorm,
    SumRead,
    Unit,
    basic_body,
    bottleneck_body,
    residual_body,
)

WIDTH = 4
READERS: dict[str, Callable[[], nn.Module]] = {
    "concat": lambda: ConcatRead([WIDTH, WIDTH]),
    "sum": lambda: SumRead(WIDTH),
    "cross": lambda: CrossRead(2, WIDTH, normalized=True),
}
BODIES: dict[str, Callable[[int], nn.Module]] = {
    "basic": lambda width: basic_body(width, WIDTH),
    "bottleneck": lambda width: bottleneck_body(width, WIDTH, dilation=2),
    "dropout": lambda width: bottleneck_body(width, WIDTH, drop_rate=0.5),
    "residual": lambda width: residual_body(width, 2, expansion=2, stride=2),
}


def unit(reader: str, body: str) -> Unit:
    torch.manual_seed(0)
    made = Unit(READERS[reader](), BODIES[body](WIDTH * (1 + (reader == "concat"))), NodeNorm(WIDTH)).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made


def defined(made: Unit, *nodes: Tensor) -> Tensor:
    return made.norm(made.body(made.read(*nodes)))


def step(made: Unit, run: Callable[..., Tensor]) -> tuple[object, ...]:
    torch.manual_seed(1)
    nodes = [torch.randn(3, WIDTH, 6, 6, dtype=torch.float64).requires_grad_() for _ in range(2)]
    for _ in range(2):
        out = run(made, *nodes)
        out.pow(3).sum().backward()
    return out, [x.grad for x in (*nodes, *made.parameters())], dict(made.named_buffers())


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("reader", READERS)
def test_unit_equals_its_modules(reader: str, body: str) -> None:
    made = unit(reader, body)
    expected = step(copy.deepcopy(made), defined)
    torch.testing.assert_close(step(made, lambda made, *nodes: made(*nodes)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("reader", READERS)
def test_unit_saves_its_nodes_and_the_normalized_maps_between_convolutions(reader: str) -> None:
    made = unit(reader, "bottleneck")
    saved: dict[int, int] = {}
    nodes = [torch.randn(3, WIDTH, 6, 6, dtype=torch.float64).requires_grad_() for _ in range(2)]

    def note(tensor: Tensor) -> Tensor:
        if tensor.dim() == 4 and tensor.shape[-1] == 6:
            saved[tensor.data_ptr()] = tensor.shape[1]
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        made(*nodes)
    read = {"concat": [WIDTH, WIDTH], "sum": [WIDTH], "cross": [WIDTH, WIDTH, WIDTH]}[reader]
    assert sorted(saved.values()) == sorted([*read, 4 * WIDTH, WIDTH])


@pytest.mark.parametrize("part", ["read", "body.conv1", "body.norm", "body.conv2"])
def test_layers_with_hooks_are_called(part: str) -> None:
    made = unit("concat", "bottleneck")
    twin = copy.deepcopy(made)
    calls: list[torch.Size] = []
    made.get_submodule(part).register_forward_hook(lambda module, given, out: calls.append(out.shape))
    torch.testing.assert_close(step(made, lambda made, *nodes: made(*nodes)), step(twin, defined), rtol=1e-9, atol=1e-9)
    assert len(calls) == 2


def test_replaced_layers_are_called() -> None:
    class Scaled(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    made = unit("concat", "bottleneck")
    scaled = Scaled(4 * WIDTH, WIDTH, 3, padding=1, bias=False, dtype=torch.float64)
    scaled.load_state_dict(made.body.conv2.state_dict())
    made.body.conv2 = scaled
    made.norm = nn.Identity()
    plain = unit("concat", "bottleneck")
    plain.body.conv2.padding = plain.body.conv2.dilation = (1, 1)
    plain.norm = nn.Identity()
    nodes = [torch.randn(3, WIDTH, 6, 6, dtype=torch.float64) for _ in range(2)]
    torch.testing.assert_close(made(*nodes), 2 * plain(*nodes))


def test_frozen_statistics_do_not_change() -> None:
    made = unit("concat", "bottleneck")
    made.body.norm.eval()
    before = copy.deepcopy(dict(made.body.norm.named_buffers()))
    step(made, lambda made, *nodes: made(*nodes))
    torch.testing.assert_close(dict(made.body.norm.named_buffers()), before, rtol=0, atol=0)


def maps(count: int) -> list[Tensor]:
    torch.manual_seed(0)
    return [3 * torch.randn(4, 2, 5, 5, dtype=torch.float64) + 1 for _ in range(count)]


@pytest.mark.parametrize("momentum", [0.1, None])
def test_node_norm_equals_batch_norm(momentum: float | None) -> None:
    norm, plain = NodeNorm(2).double(), nn.BatchNorm2d(2, affine=False).double()
    norm.momentum = plain.momentum = momentum
    for x in maps(3):
        torch.testing.assert_close(norm(x), plain(x))
    torch.testing.assert_close(dict(norm.named_buffers()), dict(plain.named_buffers()))
    torch.testing.assert_close(norm.eval()(x), plain.eval()(x))


def test_node_norm_raises_for_a_single_value_in_training() -> None:
    norm = NodeNorm(2)
    with pytest.raises(ValueError, match="value"):
        norm(torch.ones(1, 2, 1, 1))
    assert norm.running_var.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("body", "parameters"),
    [
        (basic_body(6, 4), 9 * 6 * 4),
        (bottleneck_body(6, 4), 6 * 16 + 2 * 16 + 9 * 16 * 4),
        (residual_body(6, 4), 6 * 4 + 2 * 4 + 9 * 4 * 4 + 2 * 4 + 4 * 16),
    ],
)
def test_parameters_of_bodies(body: nn.Module, parameters: int) -> None:
    assert sum(p.numel() for p in body.parameters()) == parameters


def test_stride_of_a_residual_body_is_that_of_its_first_convolution() -> None:
    body = residual_body(6, 4, stride=2, dilation=3)
    assert (body.conv1.stride, body.conv2.stride, body.conv3.stride) == ((2, 2), (1, 1), (1, 1))
    assert body.conv2.dilation == (3, 3)
    assert body(torch.zeros(1, 6, 8, 8)).shape == (1, 16, 4, 4)
