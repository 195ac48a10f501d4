"""Networks with one batch norm per reader, converted: equal outputs, gradients and statistics in float64."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import skipweave
from skipweave import topology
from skipweave.models import SparseNet, from_densenet_layout
from tests.errors import raises


class PlainUnit(nn.Module):
    """BN-ReLU-conv3x3, or BN-ReLU-conv1x1-BN-ReLU-conv3x3, with torchvision's names."""

    def __init__(self, in_width: int, growth: int, bottleneck: bool) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_width)
        if bottleneck:
            self.conv1 = nn.Conv2d(in_width, 4 * growth, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(4 * growth)
            self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(in_width, growth, 3, padding=1, bias=False)
        self.bottleneck = bottleneck

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.norm1(x).relu())
        return self.conv2(self.norm2(x).relu()) if self.bottleneck else x


class PlainNet(nn.Module):
    """A CIFAR DenseNet or SparseNet as in the papers, with either order of concatenation."""

    def __init__(self, ours: SparseNet, compression: float, bottleneck: bool, newest_first: bool) -> None:
        super().__init__()
        self.graphs = [stage.topology for stage in ours.stages]  # type: ignore[union-attr]
        self.newest_first = newest_first
        self.features = nn.ModuleDict()
        stem = ours.stem.conv
        self.features["conv0"] = nn.Conv2d(stem.in_channels, stem.out_channels, 3, padding=1, bias=False)
        width = stem.out_channels
        for index, (graph, stage) in enumerate(zip(self.graphs, ours.stages, strict=True), start=1):
            widths: Sequence[int] = stage.widths  # type: ignore[assignment, union-attr]
            layers = {}
            for node in range(1, graph.units + 1):
                in_width = sum(widths[s] for s in graph.sources(node))
                layers[f"denselayer{node}"] = PlainUnit(in_width, widths[node], bottleneck)
            self.features[f"denseblock{index}"] = nn.ModuleDict(layers)
            width = sum(widths[s] for s in graph.output)
            if index < len(self.graphs):
                carried = int(compression * width)
                self.features[f"transition{index}"] = nn.ModuleDict(
                    {"norm": nn.BatchNorm2d(width), "conv": nn.Conv2d(width, carried, 1, bias=False)}
                )
        self.features["norm5"] = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, ours.num_classes)

    def concatenate(self, nodes: list[Tensor], sources: Sequence[int]) -> Tensor:
        ordered = sources if self.newest_first else list(reversed(sources))
        return torch.cat([nodes[s] for s in ordered], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features["conv0"](x)
        for index, graph in enumerate(self.graphs, start=1):
            nodes = [x]
            block: Any = self.features[f"denseblock{index}"]
            for node in range(1, graph.units + 1):
                nodes.append(block[f"denselayer{node}"](self.concatenate(nodes, graph.sources(node))))
            x = self.concatenate(nodes, graph.output)
            if index < len(self.graphs):
                carry: Any = self.features[f"transition{index}"]
                x = nn.functional.avg_pool2d(carry["conv"](carry["norm"](x).relu()), 2)
        return self.classifier(self.features["norm5"](x).relu().mean((2, 3)))


def randomize(model: nn.Module, same_statistics: bool = True) -> None:
    """Randomize scales, shifts and, unless `same_statistics`, the running statistics of every reader."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(-1, 1, generator=generator)
            module.bias.data.uniform_(-1, 1, generator=generator)
            if not same_statistics:
                module.running_mean.uniform_(-1, 1, generator=generator)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2, generator=generator)  # type: ignore[union-attr]


def pair(pattern: str, bottleneck: bool, newest_first: bool) -> tuple[SparseNet, PlainNet]:
    """A small network, and the same with one batch norm per reader, in float64."""
    torch.manual_seed(0)
    compression = 0.5 if bottleneck else 1.0
    ours = SparseNet(units=5, growth=(3, 4, 5), topology=pattern, bottleneck=bottleneck, compression=compression)
    ours = ours.double()
    return ours, PlainNet(ours, compression, bottleneck, newest_first).double()


PATTERNS = ["dense", "exponential", "plain", "nearest_half_and_log"]


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("bottleneck", [True, False])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_training_is_equal(pattern: str, bottleneck: bool, newest_first: bool) -> None:
    ours, plain = pair(pattern, bottleneck, newest_first)
    randomize(plain)
    ours.load_state_dict(from_densenet_layout(plain.state_dict(), ours, newest_first=newest_first))
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in plain.parameters())
    for step in range(2):
        x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        results = []
        for model in (ours, plain):
            images = x.clone().requires_grad_()
            logits = model(images)
            model.zero_grad()
            logits.square().sum().backward()
            results.append((logits.detach(), images.grad))
        torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-9)
        # The conversion permutes parameters, so it also converts gradients.
        theirs = copy.deepcopy(plain)
        for parameter, source in zip(theirs.parameters(), plain.parameters(), strict=True):
            assert source.grad is not None
            parameter.data = source.grad
        expected = from_densenet_layout(theirs.state_dict(), ours, newest_first=newest_first)
        for name, parameter in ours.named_parameters():
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-8, atol=1e-8, msg=name)
    # Running statistics after the same two steps.
    expected = from_densenet_layout(plain.state_dict(), ours, newest_first=newest_first)
    for name, buffer in ours.named_buffers():
        torch.testing.assert_close(buffer, expected[name], rtol=1e-9, atol=1e-9, check_dtype=False, msg=name)
    ours.eval(), plain.eval()
    torch.testing.assert_close(ours(x), plain(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_different_statistics_of_readers_are_folded(pattern: str) -> None:
    ours, plain = pair(pattern, bottleneck=True, newest_first=True)
    randomize(plain, same_statistics=False)
    ours.load_state_dict(from_densenet_layout(plain.state_dict(), ours, newest_first=True))
    ours.eval(), plain.eval()
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(ours(x), plain(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("depth", [121, pytest.param(169, marks=pytest.mark.slow), 201])
def test_outputs_equal_torchvision(depth: int) -> None:
    torch.manual_seed(0)
    peer = getattr(torchvision.models, f"densenet{depth}")(num_classes=7).double().eval()
    randomize(peer, same_statistics=False)
    ours = skipweave.create_model(f"densenet{depth}_32", num_classes=7).double().eval()
    ours.load_state_dict(from_densenet_layout(peer.state_dict(), ours))
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(ours(x), peer(x), rtol=1e-9, atol=1e-9)


def test_torchvision_weights_load_from_a_file_through_timm(tmp_path: Any) -> None:
    torch.manual_seed(0)
    peer = torchvision.models.densenet121(num_classes=1000).eval()
    randomize(peer, same_statistics=False)
    # Old checkpoints have "norm.1" for "norm1".
    old = {k.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): v for k, v in peer.state_dict().items()}
    torch.save(old, tmp_path / "densenet121.pth")
    overlay = {"file": str(tmp_path / "densenet121.pth")}
    ours = skipweave.create_model("densenet121_32", pretrained=True, pretrained_cfg_overlay=overlay).eval()
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(ours(x), peer(x), rtol=1e-3, atol=1e-3)


def test_weights_of_another_network_raise() -> None:
    _, plain = pair("dense", bottleneck=True, newest_first=True)
    other = SparseNet(units=5, growth=(3, 4, 5), topology=topology.plain(5), bottleneck=True, compression=0.5)
    with raises("denselayer2.norm1.weight"):
        from_densenet_layout(plain.state_dict(), other)


def test_networks_with_other_norms_raise() -> None:
    _, plain = pair("dense", bottleneck=True, newest_first=True)
    other = SparseNet(units=5, growth=(3, 4, 5), bottleneck=True, compression=0.5, norm_layer="group")
    with raises("norm_layer", "SparseNet", "'batch'"):
        from_densenet_layout(plain.state_dict(), other)
    assert from_densenet_layout(other.state_dict(), other).keys() == other.state_dict().keys()
