"""DelugeNets against the released architecture, with one batch norm per source and reader, in float64."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import skipweave
from skipweave.analysis.memory import saved_bytes
from skipweave.layers import CrossConv, NodeNorm
from skipweave.models import DelugeNet
from tests.errors import raises

SIZES = dict(units=(3, 6, 9), widths=(8, 16, 32))  # of the golden output


class PaperCross(nn.Module):
    """Sum of batch norms, one per source (oldest first), or Equation 1; identity for a single source."""

    def __init__(self, sources: int, width: int, plain: bool) -> None:
        super().__init__()
        self.sources = sources
        if sources > 1 and plain:
            self.weight, self.bias = nn.Parameter(torch.ones(sources, width)), nn.Parameter(torch.zeros(width))
        elif sources > 1:
            self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(sources))

    def forward(self, nodes: list[Tensor]) -> Tensor:
        if self.sources == 1:
            return nodes[0]
        if hasattr(self, "norms"):
            return torch.stack([norm(node) for norm, node in zip(self.norms, nodes, strict=True)]).sum(0)
        return torch.einsum("lc,lnchw->nchw", self.weight, torch.stack(nodes)) + self.bias[:, None, None]


class PaperLayer(nn.Module):
    """Cross-layer convolution and composite function of all earlier nodes."""

    def __init__(self, sources: int, in_width: int, base: int, plain: bool) -> None:
        super().__init__()
        self.cross = PaperCross(sources, in_width, plain)
        self.norm1, self.conv1 = nn.BatchNorm2d(in_width), nn.Conv2d(in_width, base, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(base), nn.Conv2d(base, base, 3, padding=1, bias=False)
        self.norm3, self.conv3 = nn.BatchNorm2d(base), nn.Conv2d(base, 2 * base, 1, bias=False)

    def forward(self, nodes: list[Tensor]) -> Tensor:
        x = self.conv1(self.norm1(self.cross(nodes)).relu())
        return self.conv3(self.norm3(self.conv2(self.norm2(x).relu())).relu())


class PaperNet(nn.Module):
    """A CIFAR DelugeNet as released, with modules in the order of execution."""

    def __init__(self, units: tuple[int, ...], widths: tuple[int, ...], plain: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.first = PaperLayer(1, widths[0], widths[0], plain)
        self.blocks = nn.ModuleList()
        for block, (count, base) in enumerate(zip(units, widths, strict=True)):
            layers = count - 1 if block == 0 else count
            parts = nn.ModuleDict()
            parts["layers"] = nn.ModuleList(PaperLayer(i + 1, 2 * base, base, plain) for i in range(layers))
            parts["cross"] = PaperCross(layers + 1, 2 * base, plain)
            parts["norm"] = nn.BatchNorm2d(2 * base)
            if block + 1 < len(units):
                parts["conv"] = nn.Conv2d(2 * base, 2 * widths[block + 1], 3, stride=2, padding=1, bias=False)
            self.blocks.append(parts)
        self.fc = nn.Linear(2 * widths[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first([self.stem(x)])
        for block in self.blocks:
            parts: Any = block
            nodes = [x]
            for layer in parts["layers"]:
                nodes.append(layer(nodes))
            x = parts["norm"](parts["cross"](nodes))
            x = parts["conv"](x) if "conv" in parts else x.relu()
        return self.fc(x.mean((2, 3)))


def readers(ours: DelugeNet, paper: PaperNet) -> Iterator[tuple[Any, PaperCross, nn.BatchNorm2d]]:
    """Readers of nodes: our module, and the cross-layer convolution and the following batch norm of the paper."""
    for stage, parts in zip(ours.stages, paper.blocks, strict=True):
        for unit, layer in zip(stage.units, parts["layers"], strict=True):
            yield getattr(unit.read, "cross", unit.read), layer.cross, layer.norm1
        yield stage.collect, parts["cross"], parts["norm"]


def equal_layers(ours: Any, paper: PaperNet) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Pairs of layers with equal weights: all but the cross-layer convolutions."""

    def body(unit: Any, layer: PaperLayer) -> Iterator[tuple[nn.Module, nn.Module]]:
        if hasattr(unit.read, "norm"):
            yield unit.read.norm, layer.norm1
        mine, theirs = unit.body, layer
        yield from zip((mine.conv1, mine.conv2, mine.conv3), (theirs.conv1, theirs.conv2, theirs.conv3), strict=True)
        yield from zip((mine.norm1, mine.norm2), (theirs.norm2, theirs.norm3), strict=True)

    yield ours.stem.conv, paper.stem
    yield from body(ours.stages[0].entry, paper.first)
    for stage, parts in zip(ours.stages, paper.blocks, strict=True):
        for unit, layer in zip(stage.units, parts["layers"], strict=True):
            yield from body(unit, layer)
    for stage, parts in zip(ours.stages[1:], paper.blocks[:-1], strict=True):
        yield stage.entry.carry.norm, parts["norm"]
        yield stage.entry.carry.conv, parts["conv"]
    yield ours.norm.norm, paper.blocks[-1]["norm"]
    yield ours.head.fc, paper.fc


def copy_equal_layers(ours: DelugeNet, paper: PaperNet) -> None:
    for mine, theirs in equal_layers(ours, paper):
        mine.load_state_dict(theirs.state_dict())


def norms_of(cross: PaperCross, norm: nn.BatchNorm2d) -> list[nn.BatchNorm2d]:
    """The batch norms of the sources, oldest first; for a single source that of the unit."""
    return list(cross.norms) if cross.sources > 1 else [norm]


def set_affine(reader: nn.Module, scales: list[Tensor], shifts: list[Tensor]) -> None:
    """Set scale and shift per source, given oldest first; our readers have the newest first."""
    if isinstance(reader, CrossConv):
        reader.weight.data, reader.bias.data = (torch.stack(v[::-1]).detach() for v in (scales, shifts))
    else:
        reader.weight.data, reader.bias.data = scales[0].detach(), shifts[0].detach()


def fold(ours: DelugeNet, paper: PaperNet) -> None:
    """Copy the paper's weights, folding the statistics of its readers into scale and shift of ours."""
    copy_equal_layers(ours, paper)
    for node in ours.modules():
        if isinstance(node, NodeNorm):  # identity
            node.running_mean.zero_()
            node.running_var.fill_(1 - node.eps)
    for reader, cross, norm in readers(ours, paper):
        norms = norms_of(cross, norm)
        scales = [n.weight / (n.running_var + n.eps).sqrt() for n in norms]
        set_affine(reader, scales, [n.bias - scale * n.running_mean for n, scale in zip(norms, scales, strict=True)])


def golden(tensor: int, numel: int) -> Tensor:
    """Deterministic values in [-1, 1] that independent implementations reproduce exactly."""
    j = torch.arange(1, numel + 1, dtype=torch.int64)
    u = (7919 * j**2 + 104729 * j + 1299709 * (tensor + 1)) % 1000003
    return 2 * u.double() / 1000003 - 1


def fill(paper: PaperNet) -> int:
    """Fill the network's tensors in the order of execution; return their number."""
    count = 0
    crossed = {id(n) for m in paper.modules() if isinstance(m, PaperCross) for n in getattr(m, "norms", ())}

    def assign(tensor: Tensor, scale: float, shift: float = 0.0) -> None:
        nonlocal count
        tensor.data.copy_(scale * golden(count, tensor.numel()).view_as(tensor) + shift)
        count += 1

    for module in paper.modules():
        if isinstance(module, nn.Conv2d):
            assign(module.weight, (6 / module.weight[0].numel()) ** 0.5)
        elif isinstance(module, nn.BatchNorm2d):
            assign(module.weight, *((1.0, 0.0) if id(module) in crossed else (0.25, 1.0)))
            assign(module.bias, 0.1)
            assign(module.running_mean, 0.1)
            assign(module.running_var, 0.5, 1.0)
        elif isinstance(module, nn.Linear):
            assign(module.weight, (3 / module.in_features) ** 0.5)
            assign(module.bias, 0.1)
    return count


def test_golden_output() -> None:
    """The expected values come from an independent implementation of the released graph."""
    paper = PaperNet(**SIZES).double().eval()
    ours = DelugeNet(**SIZES).double().eval()
    assert fill(paper) == 631
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in paper.parameters()) == 178386
    fold(ours, paper)
    x = golden(-1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)
    for model in (paper, ours):
        logits = model(x)
        expected = torch.tensor([5.989392, -5.461806, 3.467649, -2.306987, -2.118674]).double()
        torch.testing.assert_close(logits[0, :5], expected, rtol=0, atol=2e-6)
        assert logits.sum().item() == pytest.approx(0.199273, abs=2e-6)


def trained_step(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    images = x.clone().requires_grad_()
    logits = model(images)
    model.zero_grad()
    logits.square().sum().backward()
    return logits.detach(), images.grad


@pytest.mark.parametrize("plain", [False, True])
def test_training_equals_the_paper(plain: bool) -> None:
    torch.manual_seed(0)
    sizes = dict(units=(3, 2, 3), widths=(2, 3, 4))
    paper = PaperNet(**sizes, plain=plain).double()
    ours = DelugeNet(**sizes, cross="plain" if plain else "normalized").double()
    for parameter in paper.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter)
    copy_equal_layers(ours, paper)
    for reader, cross, norm in readers(ours, paper):
        if plain and cross.sources > 1:
            nn.init.normal_(cross.weight)
            reader.weight.data, reader.bias.data = cross.weight.data.flip(0), cross.bias.data.clone()
        elif not plain:
            norms = norms_of(cross, norm)
            set_affine(reader, [n.weight for n in norms], [n.bias for n in norms])
    for step in range(2):
        x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        torch.testing.assert_close(trained_step(ours, x), trained_step(paper, x), rtol=1e-8, atol=1e-8)
        for reader, cross, _ in readers(ours, paper):
            if cross.sources > 1:
                theirs = cross.weight.grad if plain else torch.stack([n.weight.grad for n in cross.norms])
                torch.testing.assert_close(reader.weight.grad, theirs.flip(0), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(ours.eval()(x), paper.eval()(x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("name", "size"), [("delugenet146", 32), ("delugenet92", 224)])
def test_training_memory_relative_to_the_residual_network(name: str, size: int) -> None:
    """The paper reports 2.2 times that of its ResNet; here each node is saved once for all readers."""

    @cache
    def saved(cross: str, *, plain: bool = False, recompute: bool = False) -> int:
        with torch.device("meta"):
            model, images = skipweave.create_model(name, cross=cross), torch.empty(2, 3, size, size)
        model.set_grad_checkpointing(recompute)
        return saved_bytes(model, images, plain=plain)

    for cross in ("normalized", "plain"):
        assert saved(cross, recompute=True) / saved("sum", recompute=True) < 1.3
        assert saved(cross, plain=True) / saved("sum", plain=True) < 1.25
        assert saved(cross) / saved("sum") < 1.5
        assert saved(cross) / saved("sum", plain=True) < 0.85


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("cross", ["normalized", "plain", "sum"])
def test_stochastic_depth_drops_nodes_per_sample_after_their_norm(cross: str, checkpointing: bool) -> None:
    sizes = dict(units=(2, 2, 2), widths=(2, 2, 2), cross=cross)
    model, kept = DelugeNet(**sizes, drop_path_rate=0.5), DelugeNet(**sizes)
    kept.load_state_dict(model.state_dict())
    model.set_grad_checkpointing(checkpointing)
    units = [unit for stage in model.stages for unit in stage.units]
    assert [getattr(unit.drop_path, "drop_prob", 0.0) for unit in units] == pytest.approx([0, 0.125, 0.25, 0.375, 0.5])
    maps = [torch.randn(64, 4, 5, 5) for _ in range(1 if cross == "sum" else 2)]
    torch.manual_seed(0)
    outputs = units[-1](*maps, checkpointing=checkpointing)
    survived = outputs.flatten(1).any(1)
    assert 16 < survived.sum() < 48
    reference = kept.stages[-1].units[-1]
    torch.testing.assert_close(outputs, 2 * survived[:, None, None, None] * reference(*maps))
    for name, statistics in reference.named_buffers():
        torch.testing.assert_close(units[-1].get_buffer(name), statistics)
    images = torch.randn(2, 3, 8, 8)
    model.load_state_dict(kept.state_dict())
    assert torch.equal(model.eval()(images), kept.eval()(images))


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (dict(drop_path_rate=1), ("drop_path_rate", 1)),
        (dict(cross="both"), ("cross", "'both'")),
        (dict(shortcut="projection"), ("shortcut", "'projection'")),
        (dict(widths=0, units=(1, 2)), ("units", (1, 2), "widths", 0)),
    ],
)
def test_invalid_arguments_are_named(overrides: dict[str, Any], named: tuple[object, ...]) -> None:
    with raises(*named):
        skipweave.create_model("delugenet146", **overrides)


@pytest.mark.parametrize("overrides", [dict(units=1), dict(topology="plain"), dict(topology="exponential")])
@pytest.mark.parametrize("cross", ["normalized", "plain", "sum"])
def test_other_units_and_topologies(cross: str, overrides: dict[str, Any]) -> None:
    model = DelugeNet(**{"units": 4, "widths": (2, 3, 4), "cross": cross, **overrides})
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.group_matcher()("stages.0.entry.read.norm.weight")
