"""Pre-activation ResNet and SparseNet[+] against their definition."""

import pytest
import timm
import torch
from torch import Tensor, nn

from skipweave import topology
from skipweave.models import SparseSumNet


def bottleneck(unit: nn.Module, x: Tensor) -> Tensor:
    """BN-ReLU-conv1x1-BN-ReLU-conv3x3-BN-ReLU-conv1x1."""
    body = unit.body
    x = body.conv1(unit.read.norm(x).relu())
    x = body.conv2(body.norm1(x).relu())
    return body.conv3(body.norm2(x).relu())


def defined(model: SparseSumNet, pattern: str, x: Tensor, mean: bool) -> Tensor:
    def combined(maps: list[Tensor]) -> Tensor:
        return sum(maps) / (len(maps) if mean else 1)

    x = model.stem(x)
    for stage in model.stages:
        graph = topology.make(pattern, len(stage.units))
        nodes = [stage.entry(x), bottleneck(stage.units[0], x)]
        for node, unit in enumerate(stage.units[1:], start=2):
            nodes.append(bottleneck(unit, combined([nodes[source] for source in graph.sources(node)])))
        x = combined([nodes[source] for source in graph.output])
    return model.head.fc(model.norm.norm(x).relu().mean((2, 3)))


@pytest.mark.parametrize("aggregation", ["sum", "mean"])
@pytest.mark.parametrize("pattern", ["dense", "exponential", "plain", "harmonic", "fractal"])
def test_outputs_follow_the_definition(pattern: str, aggregation: str) -> None:
    torch.manual_seed(0)
    model = SparseSumNet(units=4, widths=(2, 3, 4), topology=pattern, aggregation=aggregation).double().eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(), part.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(model(x), defined(model, pattern, x, aggregation == "mean"), rtol=1e-10, atol=1e-10)


def test_depth_counts_three_layers_per_unit() -> None:
    with torch.device("meta"):
        assert [len(stage.units) for stage in SparseSumNet(depth=29).stages] == [3, 3, 3]


def test_layer_groups_do_not_grow_with_depth() -> None:
    with torch.device("meta"):
        model = timm.create_model("sparsenet_sum2000")
    assert len(timm.models.group_parameters(model, model.group_matcher())) == 14


@pytest.mark.parametrize("checkpointing", [False, True])
def test_stochastic_depth_drops_whole_units_per_sample(checkpointing: bool):
    model = SparseSumNet(units=2, widths=(4, 4, 4), topology="dense", drop_path_rate=0.5)
    model.set_grad_checkpointing(checkpointing)
    units = [unit for stage in model.stages for unit in stage.units]
    assert [getattr(unit.drop_path, "drop_prob", 0.0) for unit in units] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    plain = SparseSumNet(units=2, widths=(4, 4, 4), topology="dense")
    plain.load_state_dict(model.state_dict())
    x = torch.randn(64, 16, 4, 4)
    torch.manual_seed(0)
    outputs = units[-1](x, checkpointing=checkpointing)
    kept = outputs.flatten(1).any(1)
    assert 16 < kept.sum() < 48
    torch.testing.assert_close(outputs, 2 * kept[:, None, None, None] * plain.stages[-1].units[-1](x))
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(model.eval()(images), plain.eval()(images))
