"""SeqConv layers against their definition by concatenations."""

import re
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skipweave.analysis.memory import saved_bytes
from skipweave.layers import SeqConv2d
from skipweave_config.errors import SkipweaveError
from tests.errors import raises

CASES = {
    "windowed": dict(in_channels=12, out_channels=12),
    "dense": dict(in_channels=12, out_channels=12, windowed=False),
    "wider": dict(in_channels=8, out_channels=20),
    "narrower": dict(in_channels=20, out_channels=8),
    "input smaller than a group": dict(in_channels=3, out_channels=8, windowed=False),
    "bottleneck": dict(in_channels=12, out_channels=12, bottleneck=True),
    "subgroups": dict(in_channels=12, out_channels=12, bottleneck=True, subgroups=2),
    "1x5 kernel": dict(in_channels=12, out_channels=12, kernel_size=(1, 5), dilation=(1, 2)),
}


def make(case: str, **overrides: object) -> SeqConv2d:
    torch.manual_seed(0)
    layer = SeqConv2d(**{**CASES[case], "group_size": 4, **overrides}).double()
    for norm in (part for part in layer.modules() if isinstance(part, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
    return layer


def defined(layer: SeqConv2d, x: Tensor, shortcut: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The layer as the paper defines it."""

    def unit(part: nn.Module, x: Tensor, added: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
        raw = part.conv(x) + added
        return raw, part.norm(raw).relu()

    of_groups = layer.dropout == "groups"
    k, window, raws, made = layer.group_size, x if of_groups else layer.drop(x), [], []
    for i, group in enumerate(layer.groups):
        read = layer.drop(window) if of_groups else window
        if not isinstance(group.reduce, nn.Identity):
            read = unit(group.reduce, read)[1]
        raw, act = unit(group.make, read, 0.0 if shortcut is None else shortcut[:, i * k : (i + 1) * k])
        raws.append(raw)
        made.append(act)
        window = torch.cat([window[:, k:] if layer.windowed else window, act], dim=1)
    return torch.cat(raws, dim=1), torch.cat(made, dim=1)


def results(layer: SeqConv2d, run: object, memory_format: torch.memory_format) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, shortcut = (
        torch.randn(2, width, 6, 5, generator=generator, dtype=torch.float64).to(memory_format=memory_format)
        for width in (layer.in_channels, layer.out_channels)
    )
    x.requires_grad_(), shortcut.requires_grad_()
    torch.manual_seed(2)
    raw, act = run(x, shortcut)  # type: ignore[operator]
    yield from (raw, act, *layer.buffers())
    loss = raw.square().mean() + act.square().mean()
    yield from torch.autograd.grad(loss, (x, shortcut, *layer.parameters()))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dropped", [{}, dict(drop_rate=0.3), dict(drop_rate=0.3, dropout="layer")])
@pytest.mark.parametrize("case", CASES)
def test_equals_its_definition(case: str, dropped: dict[str, object], memory_format: torch.memory_format) -> None:
    ours, plain = make(case, **dropped), make(case, **dropped)
    expected = list(results(plain, lambda *maps: defined(plain, *maps), memory_format))
    torch.testing.assert_close(
        list(results(ours, ours.raw_and_activated, memory_format)), expected, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("case", CASES)
def test_no_grad_and_exported_equal_eager(case: str) -> None:
    layer = make(case).eval()
    x = torch.randn(2, layer.in_channels, 5, 5, dtype=torch.float64)
    expected = layer(x)
    assert expected.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)
        exported = torch.export.export(layer, (x,)).module()
        torch.testing.assert_close(exported(x), expected, rtol=1e-12, atol=1e-12)


def test_has_shape_and_parameters_of_a_convolution() -> None:
    wide = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
    layer = SeqConv2d(16, 32, 3, group_size=8)
    x = torch.randn(2, 16, 7, 7)
    assert layer(x).shape == wide(x).shape
    assert sum(p.numel() for p in layer.parameters()) == sum(p.numel() for p in wide.parameters())


@pytest.mark.parametrize(
    ("in_channels", "windowed", "reads"),
    [
        (12, True, [(2, 1, 0), (3, 2, 1), (4, 3, 2), (5, 4, 3)]),  # three groups of the input are nodes 0, 1, 2
        (12, False, [(0,), (1, 0), (2, 1, 0), (3, 2, 1, 0)]),
    ],
)
def test_links_of_groups(in_channels: int, windowed: bool, reads: list[tuple[int, ...]]) -> None:
    layer = SeqConv2d(in_channels, 16, group_size=4, windowed=windowed)
    given = 3 if windowed else 1
    assert [layer.topology.sources(node) for node in range(given, given + 4)] == reads
    widths = [4] * 7 if windowed else [in_channels] + [4] * 4
    assert [unit.make.conv.in_channels for unit in layer.groups] == [sum(widths[s] for s in read) for read in reads]


def test_output_may_be_modified_in_place() -> None:
    layer = make("windowed")
    x = torch.randn(2, 12, 4, 4, dtype=torch.float64)
    gradients = []
    for add in (torch.Tensor.add, torch.Tensor.add_):
        add(layer(x), 1.0).square().sum().backward()
        gradients.append([p.grad for p in layer.parameters()])
        layer.zero_grad()
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mixed_precision_trains(dtype: torch.dtype) -> None:
    layer = SeqConv2d(8, 8, group_size=4)
    x = torch.randn(2, 8, 6, 6, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = layer(x)
    made.float().square().sum().backward()
    assert made.dtype == torch.bfloat16
    assert x.grad is not None
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in layer.parameters())


def test_compiled_training_equals_eager() -> None:
    layer = make("windowed")
    x = torch.randn(2, 12, 4, 4, dtype=torch.float64)
    gradients = []
    for forward in (layer, torch.compile(layer, backend="aot_eager")):
        forward(x).square().sum().backward()
        gradients.append([p.grad for p in layer.parameters()])
        layer.zero_grad()
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-9)


class Allocated(TorchDispatchMode):
    """Counts the bytes of storages allocated by operations."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self.storages[leaf.untyped_storage()._cdata] = leaf.untyped_storage()
        return made

    def maps(self, given: Tensor) -> float:
        """Bytes in channels of the given map, which is not counted itself."""
        own = given.untyped_storage()._cdata
        made = sum(storage.nbytes() for key, storage in self.storages.items() if key != own)
        return made / (given[:, :1].numel() * given.element_size())


@pytest.mark.parametrize("groups", [2, 8, 32])
def test_windows_are_not_copied(groups: int) -> None:
    """Allocated are one buffer of input and groups, each group convolved and normalized, and the concatenation."""
    layer = SeqConv2d(64, 64, group_size=64 // groups).eval()
    x = torch.randn(1, 64, 16, 16)
    with torch.no_grad(), Allocated() as allocated:
        layer(x)
    buffer, convolved, normalized, concatenated = 128, 64, 64, 64
    assert allocated.maps(x) == pytest.approx(buffer + convolved + normalized + concatenated, rel=0.02)


def test_training_saves_each_map_once() -> None:
    few, many = (saved_bytes(SeqConv2d(64, 64, group_size=size), torch.randn(1, 64, 16, 16)) for size in (32, 2))
    assert many == pytest.approx(few, rel=0.02)


def test_dropout_saves_a_window_per_group() -> None:
    x = torch.randn(2, 64, 16, 16)
    kept = [saved_bytes(SeqConv2d(64, 64, group_size=8, drop_rate=rate), x) for rate in (0.0, 0.1)]
    window, buffer = 64, 128  # channels; without dropout all groups read views of the buffer
    more = (kept[1] - kept[0]) / x[:, :1].nbytes
    assert more == pytest.approx(8 * window - buffer, rel=0.02)


@pytest.mark.parametrize("shape", [(2, 8, 6, 5), (2, 16, 6, 5), (2, 12, 6, 1), (1, 12, 6, 5), (12, 6, 5)])
def test_shortcut_of_another_shape_raises(shape: tuple[int, ...]) -> None:
    layer = SeqConv2d(8, 12, group_size=4)
    with pytest.raises(SkipweaveError, match=re.escape(str(shape))):
        layer.raw_and_activated(torch.randn(2, 8, 6, 5), torch.randn(shape))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (
            dict(group_size=0, dilation=-1),
            ("group_size", 0, "dilation", -1),
        ),
        (dict(group_size=5), ("out_channels", 16, "in_channels", 12)),
        (dict(group_size=4, kernel_size=2), ("kernel_size", "2")),
        (dict(group_size=4, kernel_size=(1, 4), dropout="all"), ("kernel_size", 1, 4, "dropout", "'all'")),
        (dict(group_size=4, kernel_size=(3, 3, 3)), ("kernel_size", 3)),
        (dict(group_size=4, subgroups=3), ("subgroups", 3)),
        (dict(group_size=4, drop_rate=1.0), ("drop_rate", "1.0")),
    ],
)
def test_all_invalid_arguments_are_named(arguments: dict[str, object], named: tuple[object, ...]) -> None:
    with raises(*named):
        SeqConv2d(12, 16, **arguments)
