"""Units that keep little for the backward pass against the plain calls that define them."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from skipweave.layers import ConcatRead, CrossRead, SumRead, Unit, basic_body, bottleneck_body, residual_body
from skipweave.layers.norm import NodeNorm

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


def step(made: Unit, form: Callable[..., Tensor]) -> tuple[object, ...]:
    torch.manual_seed(1)
    nodes = [torch.randn(3, WIDTH, 6, 6, dtype=torch.float64).requires_grad_() for _ in range(2)]
    for _ in range(2):
        out = form(made, *nodes)
        out.pow(3).sum().backward()
    return out, [x.grad for x in (*nodes, *made.parameters())], dict(made.named_buffers())


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("reader", READERS)
def test_a_unit_is_what_its_modules_define(reader: str, body: str) -> None:
    made = unit(reader, body)
    expected = step(copy.deepcopy(made), defined)
    torch.testing.assert_close(step(made, lambda made, *nodes: made(*nodes)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("reader", READERS)
def test_a_unit_keeps_its_nodes_and_the_normalized_maps_between_convolutions(reader: str) -> None:
    made = unit(reader, "bottleneck")
    kept: dict[int, int] = {}
    nodes = [torch.randn(3, WIDTH, 6, 6, dtype=torch.float64).requires_grad_() for _ in range(2)]

    def note(tensor: Tensor) -> Tensor:
        if tensor.dim() == 4 and tensor.shape[-1] == 6:
            kept[tensor.data_ptr()] = tensor.shape[1]
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        made(*nodes)
    read = {"concat": [WIDTH, WIDTH], "sum": [WIDTH], "cross": [WIDTH, WIDTH, WIDTH]}[reader]
    assert sorted(kept.values()) == sorted([*read, 4 * WIDTH, WIDTH])


@pytest.mark.parametrize("part", ["read", "body.conv1", "body.norm", "body.conv2"])
def test_layers_that_are_watched_are_called(part: str) -> None:
    made = unit("concat", "bottleneck")
    twin = copy.deepcopy(made)
    heard: list[torch.Size] = []
    made.get_submodule(part).register_forward_hook(lambda module, given, out: heard.append(out.shape))
    torch.testing.assert_close(step(made, lambda made, *nodes: made(*nodes)), step(twin, defined), rtol=1e-9, atol=1e-9)
    assert len(heard) == 2


def test_layers_that_were_replaced_are_called() -> None:
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


def test_frozen_statistics_stay_frozen() -> None:
    made = unit("concat", "bottleneck")
    made.body.norm.eval()
    before = copy.deepcopy(dict(made.body.norm.named_buffers()))
    step(made, lambda made, *nodes: made(*nodes))
    torch.testing.assert_close(dict(made.body.norm.named_buffers()), before, rtol=0, atol=0)
