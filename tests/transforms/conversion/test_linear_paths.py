"""What reads the output of a layer before a norm, and ends of residual branches."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import Conv2dNormActivation, FrozenBatchNorm2d

from skipweave.tracing.channel_layers import PRODUCERS
from skipweave.tracing.dataflow import Flow, data_flows
from skipweave.tracing.replicas import trials_of
from skipweave.transforms.conversion.linear_paths import ends_residual_branch, is_norm, unnormalized

Forward = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """The layer `conv` between others."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.conv, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.group = nn.BatchNorm2d(4), nn.GroupNorm(2, 4)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self._run = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._run(self, x)


def flow_of(forward: Forward) -> Flow:
    model = Net(forward)
    whole = lambda part: isinstance(part, PRODUCERS) or is_norm(part)  # noqa: E731
    return data_flows(model, trials_of(model, (4, 8, 8)), whole, methods=("forward",), variants=False)[0]


NORMS = {"norm", "group"}


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.norm(net.conv(x)),
        lambda net, x: net.group(net.conv(x)),
        lambda net, x: net.norm(net.conv(x) + x).relu(),
        lambda net, x: net.norm(functional.max_pool2d(net.conv(x), 2) * net.scale).sigmoid(),
        lambda net, x: net.norm(net.conv(x).add_(x).mul_(0.5)),
        lambda net, x: torch.cat([net.norm(part) for part in net.conv(x).repeat(1, 2, 1, 1).chunk(2, 1)], 1),
        lambda net, x: functional.batch_norm(net.conv(x), net.norm.running_mean, net.norm.running_var),
        lambda net, x: (lambda raw: net.norm(raw) + raw)(net.conv(x)),  # the raw map only leaves the network
        lambda net, x: net.norm(net.second(net.conv(x))),
        lambda net, x: net.norm(x.sigmoid() * net.conv(x)),
    ],
)
def test_norms_follow(forward: Forward) -> None:
    assert unnormalized("conv", [flow_of(forward)], NORMS) == ""


@pytest.mark.parametrize(
    ("forward", "named"),
    [
        (lambda net, x: net.conv(x), "no norm"),
        (lambda net, x: net.conv(x).sigmoid(), "sigmoid"),
        (lambda net, x: net.norm(x * net.conv(x).sigmoid()), "sigmoid"),
        (lambda net, x: (lambda raw: net.norm(raw * net.second(raw)))(net.conv(x)), "mul"),
        (lambda net, x: net.norm(1 / net.conv(x)), "reciprocal"),
        (lambda net, x: net.norm(x / net.conv(x)), "div"),
        (lambda net, x: (lambda raw: net.norm(raw) * raw.relu())(net.conv(x)), "relu"),
        (lambda net, x: net.norm(net.second(net.conv(x).relu())), "relu"),
        (lambda net, x: net.norm(net.conv(x).square()), "pow"),
    ],
)
def test_other_readers_are_named(forward: Forward, named: str) -> None:
    assert named in unnormalized("conv", [flow_of(forward)], NORMS)


class ScaleNorm(nn.Module):
    pass


def test_norms() -> None:
    assert all(map(is_norm, (nn.BatchNorm2d(4), nn.GroupNorm(2, 4), FrozenBatchNorm2d(4), ScaleNorm())))
    assert not any(map(is_norm, (nn.ReLU(), nn.Conv2d(4, 4, 1), Conv2dNormActivation(4, 4))))


@pytest.mark.parametrize(
    ("forward", "ends"),
    [
        (lambda net, x: x + net.norm(net.conv(x)), True),
        (lambda net, x: (x + net.norm(net.conv(net.second(x).relu()))).relu(), True),
        (lambda net, x: net.second(x).add_(net.conv(x.relu())), True),
        (lambda net, x: x + net.norm(net.conv(x)) * net.second(x).sigmoid(), True),
        (lambda net, x: functional.avg_pool2d(x, 1) + net.conv(x), True),
        (lambda net, x: x + net.norm(net.conv(x)).relu(), False),
        (lambda net, x: net.norm(net.conv(x)), False),
        (lambda net, x: x.relu() + net.second(net.conv(x).relu()), False),
        (lambda net, x: net.conv(x.tanh()) + net.second(x.sigmoid()).relu(), False),  # not a shortcut
        (lambda net, x: net.conv(x) + 1.0, False),
        (lambda net, x: net.second(x) + net.conv(net.second(x).relu()), True),
        (lambda net, x: net.second(x) + net.conv(x), False),  # parallel layers
        (lambda net, x: net.group(x) + (net.norm(net.conv(x)) + net.group(net.second(x))), False),  # RepVGG
    ],
)
def test_ends_of_residual_branches(forward: Forward, ends: bool) -> None:
    assert ends_residual_branch("conv", flow_of(forward), NORMS, {"conv"}) == ends
