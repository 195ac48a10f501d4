"""Which maps the kernels can read, and the tables of their addresses."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from skipweave.ops.triton import launch, node_table


def made(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape).to(dtype, memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("node", "step"),
    [
        (made(2, 5, 3, 4), 5),
        (made(2, 9, 3, 4)[:, 2:7], 9),
        (made(4, 5, 3, 4)[::2], 0),
        (made(2, 5, 3, 8)[..., ::2], 10),
        (made(2, 5, 3, 8)[..., 1:], 0),
        (made(2, 5, 3, 8)[..., :1], 40),
        (made(2, 5, 3, 8)[:1, :, :1], 5),
        (made(2, 5, 1, 1), 5),
        (made(1, 5, 1, 1), 5),
        (made(1, 5, 3, 1), 5),
        (torch.randn(2, 5, 3, 4), 0),
        (torch.randn(2, 1, 3, 4), 1),
        (torch.randn(2, 5, 1, 1), 5),
        (torch.randn(1, 5, 1, 1).expand(2, -1, -1, -1), 0),
    ],
)
def test_stride_of_pixels(node: Tensor, step: int) -> None:
    assert node_table.pixel_step(node) == step
    if step:
        flat = torch.as_strided(node, (node.numel() // 5 or 1, 5), (step, 1)) if node.shape[1] == 5 else None
        expected = node.permute(0, 2, 3, 1).reshape(-1, node.shape[1])
        assert flat is None or torch.equal(flat, expected)


def test_table_holds_address_and_stride_of_each_channel() -> None:
    nodes = made(2, 3, 4, 4), made(2, 9, 4, 4)[:, 4:6]
    places, steps = node_table.table([nodes[0], None, nodes[1]], [nodes[0], nodes[1], nodes[1]]).tolist()
    assert [place - nodes[0].data_ptr() for place in places[:3]] == [0, 4, 8]
    assert places[3:5] == [0, 0]
    assert [place - nodes[1].data_ptr() for place in places[5:]] == [0, 4]
    assert steps == [3, 3, 3, 0, 0, 9, 9]


def test_tables_are_cached_by_address() -> None:
    node = made(2, 3, 4, 4)
    first = node_table.table([node], [node])
    assert node_table.table([node[:]], [node]) is first
    assert node_table.table([node[1:]], [node]) is not first


def test_vector_width_is_limited_by_all_nodes() -> None:
    def width(*widths: int, dtype: torch.dtype = torch.bfloat16) -> int:
        return node_table.vector([made(2, size, 4, 4, dtype=dtype) for size in widths])

    assert width(32, 16) == 8  # 16 bytes
    assert width(32, 16, dtype=torch.float32) == 4
    assert width(24, 12) == 4
    assert width(24, 5) == 1
    whole = made(2, 32, 4, 4, dtype=torch.bfloat16)
    assert node_table.vector([whole[:, :8], None, whole[:, 8:]]) == 8
    assert node_table.vector([whole[:, 2:10]]) == 2  # where it begins
    assert node_table.vector([made(2, 8, 4, 4, dtype=torch.bfloat16)], whole.flatten()[4:]) == 4


def test_readable_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "PROBLEM", "")
    node, scale = made(2, 3, 4, 4), torch.nn.Parameter(torch.ones(3))
    assert not node_table.are_readable([node], scale)  # on the CPU
    monkeypatch.setattr(node_table, "_DEVICE", "cpu")
    assert node_table.are_readable([node, node], scale)
    unreadable: list[Callable[[], bool]] = [
        lambda: node_table.are_readable([node, node.bfloat16()], scale),
        lambda: node_table.are_readable([node.double()], scale),
        lambda: node_table.are_readable([node], scale.double()),
        lambda: node_table.are_readable([node], scale.to("meta")),
        lambda: node_table.are_readable([node, torch.randn(2, 3, 4, 4)], scale),
        lambda: node_table.are_readable([node[:0]], scale),
    ]
    assert [read() for read in unreadable] == [False] * len(unreadable)
    seen: list[bool] = []
    torch.func.vmap(lambda x: seen.append(node_table.are_readable([node], scale)) or x)(torch.ones(2))
    with FakeTensorMode() as mode:
        seen.append(node_table.are_readable([mode.from_tensor(node)], scale))
    monkeypatch.setattr(launch, "PROBLEM", "Triton is not installed")
    assert [*seen, node_table.are_readable([node], scale)] == [False, False, False]
