"""Recomputation against a plain run."""

import pytest
import torch
from torch import nn

from skipweave.layers import recompute


def module() -> nn.Module:
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm2d(4, momentum=0.3)]
    return nn.Sequential(*parts)


def step(recomputing: bool, compiled: bool) -> tuple[object, ...]:
    model = module()

    def run(x: torch.Tensor) -> torch.Tensor:
        return recompute(model, x) if recomputing else model(x)

    torch._dynamo.reset()
    forward = torch.compile(run, backend="aot_eager") if compiled else run
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    torch.manual_seed(1)
    y = forward(x)
    y.square().sum().backward()
    return y, x.grad, dict(model.named_buffers()), {n: p.grad for n, p in model.named_parameters()}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_recompute_equals_a_plain_run(compiled: bool) -> None:
    torch.testing.assert_close(step(True, compiled), step(False, compiled), rtol=0, atol=0)


def test_buffers_keep_their_storage() -> None:
    model = module()
    before = {name: buffer.data_ptr() for name, buffer in model.named_buffers()}
    recompute(model, torch.randn(2, 3, 4, 4, requires_grad=True)).sum().backward()
    assert {name: buffer.data_ptr() for name, buffer in model.named_buffers()} == before
    assert int(model[1].num_batches_tracked) == 1  # type: ignore[arg-type, index]
