"""DelugeNets against the released form, written out: a batch norm a source and reader, in float64."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import skipweave
from skipweave.analysis.memory import saved_bytes
from skipweave.errors import SkipweaveError
from skipweave.layers import CrossConv, NodeNorm
from skipweave.models import DelugeNet

SIZES = dict(units=(3, 6, 9), widths=(8, 16, 32))  # of the golden output


class PaperCross(nn.Module):
    """Batch norms, one a source (oldest first), summed; or Equation 1. A single source passes as it is."""

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
    """Cross-layer convolution and composite function, from the nodes so far."""

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
    """A CIFAR DelugeNet as released; modules stand in the order in which they are run."""

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
    """Who reads nodes: our module, and the paper form's cross-layer convolution with the batch norm behind it."""
    for stage, parts in zip(ours.stages, paper.blocks, strict=True):
        for unit, layer in zip(stage.units, parts["layers"], strict=True):
            yield getattr(unit.read, "cross", unit.read), layer.cross, layer.norm1
        yield stage.collect, parts["cross"], parts["norm"]


def equal_layers(ours: Any, paper: PaperNet) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Pairs of layers with the same weights, ours and the paper form's: all but the convolutions across nodes."""

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
    """Batch norms that the paper form has on the sources, oldest first; on a single one it is that of the unit."""
    return list(cross.norms) if cross.sources > 1 else [norm]


def write(reader: nn.Module, gains: list[Tensor], biases: list[Tensor]) -> None:
    """Write gains and biases a source, oldest first; our readers have the newest first."""
    if isinstance(reader, CrossConv):
        reader.weight.data, reader.bias.data = (torch.stack(v[::-1]).detach() for v in (gains, biases))
    else:
        reader.gain.data, reader.bias.data = gains[0].detach(), biases[0].detach()


def fold(ours: DelugeNet, paper: PaperNet) -> None:
    """Give our network the paper form's weights: its readers' statistics go into our readers' gains and biases."""
    copy_equal_layers(ours, paper)
    for node in ours.modules():
        if isinstance(node, NodeNorm):  # a node that passes as it is
            node.running_mean.zero_()
            node.running_var.fill_(1 - node.eps)
    for reader, cross, norm in readers(ours, paper):
        norms = norms_of(cross, norm)
        gains = [n.weight / (n.running_var + n.eps).sqrt() for n in norms]
        write(reader, gains, [n.bias - gain * n.running_mean for n, gain in zip(norms, gains, strict=True)])


def golden(tensor: int, numel: int) -> Tensor:
    """Values in [-1, 1] by a rule on which independent implementations agree exactly."""
    j = torch.arange(1, numel + 1, dtype=torch.int64)
    u = (7919 * j**2 + 104729 * j + 1299709 * (tensor + 1)) % 1000003
    return 2 * u.double() / 1000003 - 1


def fill(paper: PaperNet) -> int:
    """Fill the network's tensors in the order of execution and return how many there are."""
    count = 0
    crossed = {id(n) for m in paper.modules() if isinstance(m, PaperCross) for n in getattr(m, "norms", ())}

    def put(tensor: Tensor, scale: float, shift: float = 0.0) -> None:
        nonlocal count
        tensor.data.copy_(scale * golden(count, tensor.numel()).view_as(tensor) + shift)
        count += 1

    for module in paper.modules():
        if isinstance(module, nn.Conv2d):
            put(module.weight, (6 / module.weight[0].numel()) ** 0.5)
        elif isinstance(module, nn.BatchNorm2d):
            put(module.weight, *((1.0, 0.0) if id(module) in crossed else (0.25, 1.0)))
            put(module.bias, 0.1)
            put(module.running_mean, 0.1)
            put(module.running_var, 0.5, 1.0)
        elif isinstance(module, nn.Linear):
            put(module.weight, (3 / module.in_features) ** 0.5)
            put(module.bias, 0.1)
    return count


def test_golden_output() -> None:
    """The values come from an implementation of the released graph that shares no code with this one."""
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
def test_same_training_as_the_paper_form(plain: bool) -> None:
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
            write(reader, [n.weight for n in norms], [n.bias for n in norms])
    for step in range(2):
        x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        torch.testing.assert_close(trained_step(ours, x), trained_step(paper, x), rtol=1e-8, atol=1e-8)
        for reader, cross, _ in readers(ours, paper):
            if cross.sources > 1:
                theirs = cross.weight.grad if plain else torch.stack([n.weight.grad for n in cross.norms])
                torch.testing.assert_close(reader.weight.grad, theirs.flip(0), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(ours.eval()(x), paper.eval()(x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("name", "size"), [("delugenet146", 32), ("delugenet92", 224)])
def test_memory_of_training_against_the_residual_network(name: str, size: int) -> None:
    """The paper reports 2.2 times its ResNet's; ours keeps each node once, however many read it."""

    @cache
    def kept(cross: str, *, plain: bool = False, recompute: bool = False) -> int:
        with torch.device("meta"):
            model, images = skipweave.create_model(name, cross=cross), torch.empty(2, 3, size, size)
        for module in model.modules() if plain else ():
            module.register_forward_hook(lambda *_: None)  # who is watched is called in the plain form
        model.set_grad_checkpointing(recompute)
        return saved_bytes(model, images)

    for cross in ("normalized", "plain"):
        assert kept(cross, recompute=True) / kept("sum", recompute=True) < 1.3
        assert kept(cross, plain=True) / kept("sum", plain=True) < 1.25
        assert kept(cross) / kept("sum") < 1.5
        assert kept(cross) / kept("sum", plain=True) < 0.85


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (dict(cross="both"), "cross is 'both': expected one of 'normalized', 'normalised', 'plain', 'sum'"),
        (dict(shortcut="projection"), "shortcut is 'projection': expected with it cross='sum' and stem='cifar'"),
        (dict(widths=0, units=(1, 2)), "units is .*; widths is 0"),
    ],
)
def test_bad_arguments(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(SkipweaveError, match=message):
        skipweave.create_model("delugenet146", **overrides)


@pytest.mark.parametrize("overrides", [dict(units=1), dict(topology="plain"), dict(topology="exponential")])
@pytest.mark.parametrize("cross", ["normalized", "plain", "sum"])
def test_other_shapes(cross: str, overrides: dict[str, Any]) -> None:
    model = DelugeNet(**{"units": 4, "widths": (2, 3, 4), "cross": cross, **overrides})
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.group_matcher()("stages.0.entry.read.norm.weight")
