"""SeqConv stages against their layers."""

from functools import partial

import pytest
import torch
from torch import nn

from skipweave.layers import ConvUnit, Downsampling, Opening, ResidualBlock, SeqConv2d, SeqStage


def stage(blocks: int = 2) -> SeqStage:
    torch.manual_seed(0)
    make = partial(SeqConv2d, 8, 8, group_size=4)
    return SeqStage(
        Opening(SeqConv2d(3, 8, group_size=4, windowed=False)), [ResidualBlock(make) for _ in range(blocks)]
    )


def test_stage_runs_entry_and_blocks() -> None:
    made = stage().eval()
    x = torch.randn(2, 3, 6, 6)
    raw, activated = made.entry.layer.raw_and_activated(x)
    expected = []
    for block in made.units:
        raw, activated = block.second.raw_and_activated(block.first(activated), shortcut=raw)
        expected.append(activated)
    torch.testing.assert_close(made(x), expected[-1], rtol=0, atol=0)
    stops = [nodes for (nodes,) in made.run(x, [1])]
    torch.testing.assert_close(stops, expected, rtol=0, atol=0)
    assert made.exit_reader(1)[1] == made.out_width == 8


@pytest.mark.parametrize("twice", [False, True])
def test_downsampling_reads_input_and_extension(twice: bool) -> None:
    torch.manual_seed(0)
    entry = Downsampling(SeqConv2d(8, 8, group_size=4), ConvUnit(16, 16, stride=2), extension_twice=twice).eval()
    x = torch.randn(2, 8, 6, 6)
    more = entry.extension(x)
    raw, activated = entry(x)
    torch.testing.assert_close(raw, entry.downsize.conv(torch.cat([more if twice else x, more], 1)), rtol=0, atol=0)
    torch.testing.assert_close(activated, entry.downsize.norm(raw).relu(), rtol=0, atol=0)


def test_checkpointing_changes_nothing() -> None:
    results = []
    for checkpointing in (False, True):
        made = stage()
        made.grad_checkpointing = checkpointing
        made(torch.ones(2, 3, 6, 6)).square().sum().backward()
        results.append(([p.grad for p in made.parameters()], list(made.buffers())))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    assert any(isinstance(part, nn.BatchNorm2d) for part in made.modules())
