"""DenseNet and SparseNet: the published architectures."""

import pytest
import torch
import torchvision
from torch import nn

import skipweave
from skipweave import topology
from skipweave.layers import Stage
from skipweave.models import SparseNet
from tests.errors import raises


@pytest.mark.parametrize(("name", "peer"), [("densenet121_32", "densenet121"), ("densenet169_32", "densenet169")])
def test_densenet_has_torchvisions_parameters(name: str, peer: str) -> None:
    with torch.device("meta"):
        ours, theirs = skipweave.create_model(name), getattr(torchvision.models, peer)()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize("pattern", topology.names())
def test_widths_follow_the_topology(pattern: str, bottleneck: bool) -> None:
    with torch.device("meta"):
        model = SparseNet(units=5, growth=(3, 4, 5), topology=pattern, bottleneck=bottleneck, compression=0.5)
    width = 6
    for stage, growth in zip(model.stages, (3, 4, 5), strict=True):
        widths = [width] + [growth] * 5
        for node, unit in enumerate(stage.units, start=1):
            read = sum(widths[source] for source in topology.make(pattern, 5).sources(node))
            first = next(part for part in unit.body.modules() if isinstance(part, nn.Conv2d))
            assert (first.in_channels, first.out_channels) == (read, 4 * growth if bottleneck else growth)
        width = int(0.5 * sum(widths[source] for source in topology.make(pattern, 5).output))
    assert model.num_features == sum(widths[source] for source in topology.make(pattern, 5).output)


def test_overrides_of_depth_units_and_topology() -> None:
    assert [len(s.units) for s in skipweave.create_model("sparsenet40_24", depth=22).stages] == [6] * 3
    assert [len(s.units) for s in skipweave.create_model("sparsenet_bc100_24", depth=22).stages] == [3] * 3
    model = skipweave.create_model("sparsenet40_24", units=(2, 3, 2), topology=["dense", "plain", [[0], [1, 0], [2]]])
    graphs = [stage.topology for stage in model.stages if isinstance(stage, Stage)]
    assert [g.links for g in graphs] == [3, 3, 3]
    assert graphs[2].output == (2,)


def test_unit_dropout_is_on_every_unit() -> None:
    model = SparseNet(units=2, proj_drop_rate=0.2, drop_rate=0.1)
    rates = {name: part.p for name, part in model.named_modules() if isinstance(part, nn.Dropout)}
    assert rates.pop("head.drop") == 0.1
    assert list(rates.values()) == [0.2] * 6


def test_dropout_after_every_convolution_is_on_bottlenecks_and_transitions_too() -> None:
    model = SparseNet(units=1, bottleneck=True, proj_drop_rate=0.2, proj_drop_after="convolution")
    dropped = {name for name, part in model.named_modules() if isinstance(part, nn.Dropout) and part.p}
    units = {f"stages.{stage}.units.0.body.{drop}" for stage in range(3) for drop in ("drop1", "drop")}
    assert dropped == units | {f"stages.{stage}.entry.carry.drop" for stage in (1, 2)}
    with raises("proj_drop_after", "'all'"):
        SparseNet(proj_drop_after="all")


def test_imagenet_sparsenets_pool_to_a_grid() -> None:
    with torch.device("meta"):
        model = skipweave.create_model("sparsenet121_32", num_classes=7)
    assert model.head.fc.in_features == 9 * model.num_features


def test_checkpointing_repeats_the_dropout_after_every_convolution() -> None:
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = SparseNet(units=2, growth=3, bottleneck=True, proj_drop_rate=0.3, proj_drop_after="convolution")
        model.set_grad_checkpointing(checkpointing)
        torch.manual_seed(1)
        model(torch.ones(2, 3, 8, 8)).square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)
