"""SeqConv layers against their definition, written out with concatenations."""

import re
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skipweave.analysis.memory import saved_bytes
from skipweave.errors import SkipweaveError
from skipweave.layers import SeqConv2d

FORMS = {
    "windowed": dict(in_channels=12, out_channels=12),
    "dense": dict(in_channels=12, out_channels=12, windowed=False),
    "wider": dict(in_channels=8, out_channels=20),
    "narrower": dict(in_channels=20, out_channels=8),
    "input smaller than a group": dict(in_channels=3, out_channels=8, windowed=False),
    "bottleneck": dict(in_channels=12, out_channels=12, bottleneck=True),
    "subgroups": dict(in_channels=12, out_channels=12, bottleneck=True, subgroups=2),
}


def make(form: str, **overrides: object) -> SeqConv2d:
    torch.manual_seed(0)
    layer = SeqConv2d(**{**FORMS[form], "group_size": 4, **overrides}).double()
    for norm in (part for part in layer.modules() if isinstance(part, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
    return layer


def defined(layer: SeqConv2d, x: Tensor, shortcut: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The layer as the paper defines it."""

    def unit(part: nn.Module, x: Tensor, added: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
        raw = part.conv(x) + added
        return raw, part.norm(raw).relu()

    k, window, raws, made = layer.group_size, x, [], []
    for i, group in enumerate(layer.groups):
        read = layer.drop(window)
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
@pytest.mark.parametrize("drop_rate", [0.0, 0.3])
@pytest.mark.parametrize("form", FORMS)
def test_it_is_its_definition(form: str, drop_rate: float, memory_format: torch.memory_format) -> None:
    ours, plain = make(form, drop_rate=drop_rate), make(form, drop_rate=drop_rate)
    expected = list(results(plain, lambda *maps: defined(plain, *maps), memory_format))
    torch.testing.assert_close(list(results(ours, ours.pair, memory_format)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_without_gradients_and_compiled_it_is_the_same(form: str) -> None:
    layer = make(form).eval()
    x = torch.randn(2, layer.in_channels, 5, 5, dtype=torch.float64)
    expected = layer(x)
    assert expected.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)
        exported = torch.export.export(layer, (x,)).module()
        torch.testing.assert_close(exported(x), expected, rtol=1e-12, atol=1e-12)


def test_it_takes_the_place_of_a_convolution() -> None:
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
def test_what_groups_read(in_channels: int, windowed: bool, reads: list[tuple[int, ...]]) -> None:
    layer = SeqConv2d(in_channels, 16, group_size=4, windowed=windowed)
    given = 3 if windowed else 1
    assert [layer.topology.sources(node) for node in range(given, given + 4)] == reads
    widths = [4] * 7 if windowed else [in_channels] + [4] * 4
    assert [unit.make.conv.in_channels for unit in layer.groups] == [sum(widths[s] for s in read) for read in reads]


def test_what_it_gives_may_be_changed_in_place() -> None:
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


def test_compiled_training_is_the_same() -> None:
    layer = make("windowed")
    x = torch.randn(2, 12, 4, 4, dtype=torch.float64)
    gradients = []
    for forward in (layer, torch.compile(layer, backend="aot_eager")):
        forward(x).square().sum().backward()
        gradients.append([p.grad for p in layer.parameters()])
        layer.zero_grad()
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-9)


class Allocated(TorchDispatchMode):
    """Adds up the bytes of the storages that operations make."""

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
def test_the_window_is_not_copied_at_every_group(groups: int) -> None:
    """Input and groups are laid side by side once; each group is convolved and normalized; what was made is joined."""
    layer = SeqConv2d(64, 64, group_size=64 // groups).eval()
    x = torch.randn(1, 64, 16, 16)
    with torch.no_grad(), Allocated() as allocated:
        layer(x)
    side_by_side, convolved, normalized, joined = 128, 64, 64, 64
    assert allocated.maps(x) == pytest.approx(side_by_side + convolved + normalized + joined, rel=0.02)


def test_training_saves_each_map_once() -> None:
    few, many = (saved_bytes(SeqConv2d(64, 64, group_size=size), torch.randn(1, 64, 16, 16)) for size in (32, 2))
    assert many == pytest.approx(few, rel=0.02)


def test_dropout_keeps_a_window_for_each_group() -> None:
    x = torch.randn(2, 64, 16, 16)
    kept = [saved_bytes(SeqConv2d(64, 64, group_size=8, drop_rate=rate), x) for rate in (0.0, 0.1)]
    window, line = 64, 128  # channels; without dropout the groups read views of one line, input and groups side by side
    more = (kept[1] - kept[0]) / x[:, :1].nbytes
    assert more == pytest.approx(8 * window - line, rel=0.02)


@pytest.mark.parametrize("shape", [(2, 8, 6, 5), (2, 16, 6, 5), (2, 12, 6, 1), (1, 12, 6, 5), (12, 6, 5)])
def test_a_shortcut_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    layer = SeqConv2d(8, 12, group_size=4)
    with pytest.raises(
        SkipweaveError, match=rf"{re.escape(str(shape))} beside .*\(2, 8, 6, 5\): expected \(2, 12, 6, 5\)"
    ):
        layer.pair(torch.randn(2, 8, 6, 5), torch.randn(shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            dict(group_size=0, dilation=-1),
            r"group_size is 0: .*; dilation is -1: expected a whole number of at least 1",
        ),
        (dict(group_size=5), r"out_channels is 16: .*; in_channels is 12: expected a multiple of group_size, 5"),
        (dict(group_size=4, kernel_size=2), "kernel_size is 2: expected an odd number"),
        (dict(group_size=4, subgroups=3), "subgroups is 3: expected 1 without bottleneck; .* divisor of group_size, 4"),
        (dict(group_size=4, drop_rate=1.0), r"drop_rate is 1.0: expected a number with 0 <= drop_rate < 1"),
    ],
)
def test_bad_arguments_are_named_together(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(SkipweaveError, match=message):
        SeqConv2d(12, 16, **arguments)
