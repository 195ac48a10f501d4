"""`BlockStage` runs its blocks in order, lazily, and yields them at stops."""

import torch
from torch import nn

from skipweave.layers import BlockStage, SumRead


def test_blocks_run_lazily_and_are_yielded_at_stops() -> None:
    ran: list[int] = []
    blocks = [nn.Conv2d(2, 2, 1) for _ in range(3)]
    for number, block in enumerate(blocks, start=1):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    stage, x = BlockStage(blocks, 2, None), torch.randn(1, 2, 4, 4)
    run = stage.run(x, [2])
    (second,) = next(run)
    assert ran == [1, 2]
    (last,) = next(run)
    torch.testing.assert_close(last, blocks[2](second), rtol=0, atol=0)
    torch.testing.assert_close(last, stage(x), rtol=0, atol=0)


def test_exits_activate_what_blocks_leave_raw() -> None:
    raw, activated = (BlockStage([nn.Identity()], 3, norm).exit_reader(1) for norm in ("batch", None))
    assert isinstance(raw[0], SumRead)
    assert isinstance(activated[0], nn.Identity)
    assert raw[1] == activated[1] == 3
