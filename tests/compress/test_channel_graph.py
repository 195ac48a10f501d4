"""Which channels a layer reads of which other, traced through all that lies between them."""

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from skipweave.compress.channel_graph import channel_graph
from skipweave.errors import SkipweaveError


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


def test_places_of_channels() -> None:
    graph = channel_graph(Net(), (3, 8, 8))
    assert graph.layers == ("stem", "left", "right", "gate", "skip", "last", "fc")
    assert graph.feeds["stem"] == {}
    for reader in ("left", "right", "skip"):
        assert {maker: places.tolist() for maker, places in graph.feeds[reader].items()} == {"stem": [0, 1, 2, 3]}
    assert {maker: places.tolist() for maker, places in graph.feeds["gate"].items()} == {
        "left": [0, 1],
        "right": [2, 3, 4],
    }
    assert {maker: places.tolist() for maker, places in graph.feeds["last"].items()} == {
        "left": [4, 3],
        "right": [2, 1, 0],
        "gate": [4, 3, 2, 1, 0],
        "skip": [4, 3, 2, 1, 0],
    }
    assert list(graph.feeds["fc"]) == ["last"]
    assert (graph.feeds["fc"]["last"] >= 0).all()
    assert {maker: reaches.tolist() for maker, reaches in graph.shown.items()} == {"fc": [True, True]}
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


def test_channels_that_reach_nothing_and_layers_that_run_twice_or_not_at_all() -> None:
    graph = channel_graph(Dropped().train(), (4, 5, 5))
    assert graph.layers == ("twice",)
    assert graph.feeds["twice"]["twice"].tolist() == [2, 3, 0, 1]
    assert graph.shown["twice"].tolist() == [True, True, False, False]


def test_the_model_is_left_alone_wherever_it_lives_whatever_its_weights_are() -> None:
    with torch.device("meta"):
        abstract = channel_graph(Net(), (3, 8, 8))
    torch.manual_seed(0)
    model = Net()
    with torch.no_grad():
        model.norm.weight.fill_(-1)
        model.norm.running_mean.fill_(7)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    real = channel_graph(model, (3, 8, 8))
    torch.testing.assert_close(dict(model.state_dict()), state, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training
    assert all((real.feeds[r][m] == abstract.feeds[r][m]).all() for r in real.feeds for m in real.feeds[r])


def test_squeeze_and_excitation_and_residual_sums_of_timm() -> None:
    with torch.device("meta"):
        model = timm.create_model("seresnet18")
    graph = channel_graph(model, (3, 64, 64))
    for places in graph.feeds["layer4.1.conv1"].values():
        assert places.tolist() == list(range(512))
    assert set(graph.feeds["layer4.1.conv1"]) == {"layer4.0.conv2", "layer4.0.se.fc2", "layer4.0.downsample.0"}


def test_images_that_the_model_cannot_take() -> None:
    with pytest.raises(SkipweaveError, match=r"cannot run for images of size \(4, 8, 8\)"):
        channel_graph(Net(), (4, 8, 8))
