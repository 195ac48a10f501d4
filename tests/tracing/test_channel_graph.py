"""Channels that each layer reads from each other layer."""

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from skipweave.tracing.channel_graph import ChannelGraph, channel_graph
from skipweave.tracing.replicas import trials_of
from tests.errors import raises


class Net(nn.Module):
    """A concatenation, a sum, a gate, shuffled channels, an activation in place, a pool."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.left = nn.Conv2d(4, 2, 1)
        self.right = nn.Conv2d(4, 3, 1)
        self.gate = nn.Conv2d(5, 5, 1)
        self.skip = nn.Conv2d(4, 5, 1)
        self.last = nn.Conv2d(5, 6, 1)
        self.fc = nn.Linear(6 * 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu_(self.norm(self.stem(x)))
        both = torch.cat([self.left(x), self.right(x)], dim=1)
        both = both * self.gate(both.mean((2, 3), keepdim=True)).sigmoid()
        both += self.skip(x)
        y = self.last(both.relu_().flip(1))
        return self.fc(functional.max_pool2d(y, 4).flatten(1))


def graph_of(model: nn.Module, size: tuple[int, int, int]) -> ChannelGraph:
    return channel_graph(model, trials_of(model, size))


def places(graph: ChannelGraph, reader: str) -> dict[str, list[tuple[int, int]]]:
    return {producer: list(zip(*pairs.tolist(), strict=True)) for producer, pairs in graph.feeds[reader].items()}


def straight(*inputs: int) -> list[tuple[int, int]]:
    return list(enumerate(inputs))


def test_channel_positions() -> None:
    graph = graph_of(Net(), (3, 8, 8))
    assert graph.layers == ("stem", "left", "right", "gate", "skip", "last", "fc")
    assert places(graph, "stem") == {}
    for reader in ("left", "right", "skip"):
        assert places(graph, reader) == {"stem": straight(0, 1, 2, 3)}
    assert places(graph, "gate") == {"left": straight(0, 1), "right": straight(2, 3, 4)}
    assert places(graph, "last") == {
        "left": straight(4, 3),
        "right": straight(2, 1, 0),
        "gate": straight(4, 3, 2, 1, 0),
        "skip": straight(4, 3, 2, 1, 0),
    }
    assert places(graph, "fc") == {"last": [(channel, 0) for channel in range(6)]}
    assert {producer: reaches.tolist() for producer, reaches in graph.shown.items() if reaches.any()} == {
        "fc": [True, True]
    }
    assert graph.readers_of("stem") == ("left", "right", "skip")


class Dropped(nn.Module):
    """The last two channels are made for nothing; one layer runs twice, another in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Conv2d(4, 4, 1)
        self.aux = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.twice(x)[:, [2, 3, 0, 1]])
        if self.training:
            x = self.aux(x)
        return x[:, :2]


def test_unused_channels_and_repeated_or_unused_layers() -> None:
    graph = graph_of(Dropped().train(), (4, 5, 5))
    assert graph.layers == ("twice",)
    assert places(graph, "twice") == {"twice": straight(2, 3, 0, 1)}
    assert graph.shown["twice"].tolist() == [True, True, False, False]


def test_the_model_is_unchanged_on_any_device_with_any_weights() -> None:
    with torch.device("meta"):
        abstract = graph_of(Net(), (3, 8, 8))
    torch.manual_seed(0)
    model = Net()
    with torch.no_grad():
        model.norm.weight.fill_(-1)
        model.norm.running_mean.fill_(7)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    real = graph_of(model, (3, 8, 8))
    torch.testing.assert_close(dict(model.state_dict()), state, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training
    assert all(places(real, reader) == places(abstract, reader) for reader in real.layers)


def test_timm_squeeze_and_excitation_and_residual_sums() -> None:
    with torch.device("meta"):
        model = timm.create_model("seresnet18")
    found = places(graph_of(model, (3, 64, 64)), "layer4.1.conv1")
    assert all(pairs == straight(*range(512)) for pairs in found.values())
    assert set(found) == {"layer4.0.conv2", "layer4.0.se.fc2", "layer4.0.downsample.0"}


def test_unsupported_images() -> None:
    with raises((4, 8, 8)):
        graph_of(Net(), (4, 8, 8))


# Between two layers of four channels, and the input of the second that each channel becomes.
BETWEEN: dict[str, tuple[Callable[[Tensor], Tensor], list[tuple[int, int]]]] = {
    "rectifier below 1": (lambda x: functional.hardtanh(x + x + x), straight(0, 1, 2, 3)),
    "rectifier below 6": (lambda x: functional.relu6(sum([x] * 100)), straight(0, 1, 2, 3)),
    "negative": (lambda x: functional.relu(-x), straight(0, 1, 2, 3)),
    "hard shrinkage": (functional.hardshrink, straight(0, 1, 2, 3)),
    "hard swish": (functional.hardswish, straight(0, 1, 2, 3)),
    "threshold": (lambda x: x * (x > 0.5), straight(0, 1, 2, 3)),
    "logarithm": (lambda x: x.log(), straight(0, 1, 2, 3)),
    "complement": (lambda x: 1 - x.sigmoid(), straight(0, 1, 2, 3)),
    "detached": (lambda x: x.detach() * 2, straight(0, 1, 2, 3)),
    "data": (lambda x: x.data * 2, straight(0, 1, 2, 3)),
    "no gradients": (torch.no_grad()(lambda x: x * 2), straight(0, 1, 2, 3)),
    "inference mode": (torch.inference_mode()(lambda x: x * 2), straight(0, 1, 2, 3)),
    "layer norm": (lambda x: functional.layer_norm(x, x.shape[1:]), straight(0, 1, 2, 3)),
    "both signs": (
        lambda x: functional.relu(torch.cat([x, -x], 1))[:, [0, 1, 5, 4]],
        [(0, 0), (0, 3), (1, 1), (1, 2)],
    ),
    "added to its mirror image": (lambda x: x + x.flip(1), [(a, b) for a in range(4) for b in sorted({a, 3 - a})]),
    "mean of channels": (lambda x: x.mean(1, keepdim=True).expand_as(x), [(a, b) for a in range(4) for b in range(4)]),
    "index of a buffer": (lambda x: x[:, ORDER], [(0, 1), (1, 3), (2, 0), (3, 2)]),
    "pixels become channels": (
        lambda x: functional.pixel_unshuffle(x[:, :1], 2),
        [(0, 0), (0, 1), (0, 2), (0, 3)],
    ),
}
ORDER = torch.tensor([2, 0, 3, 1])


@pytest.mark.parametrize("name", BETWEEN)
def test_operations_between_layers(name: str) -> None:
    operation, expected = BETWEEN[name]

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.producer, self.reader = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.reader(operation(self.producer(x)))

    assert places(graph_of(Pair(), (3, 4, 4)), "reader") == {"producer": expected}
