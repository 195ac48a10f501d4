"""What channel-sparse convolutions make of NaN and infinity, in whatever form they are computed."""

import pytest
import torch

from skipweave.layers import ChannelSparseConv2d


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("pattern", ["exact", "block", "grouped"])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("grad", [False, True])
def test_it_reaches_every_output_that_reads_it(value, pattern, kernel, grad):
    torch.manual_seed(0)
    layer = ChannelSparseConv2d(16, 32, kernel, padding=kernel // 2, density=0.125, pattern=pattern, seed=1)
    x = torch.randn(2, 16, 5, 5)
    with torch.set_grad_enabled(grad):
        finite = layer(x)
        x[0, 3] = value
        made = layer(x)
    per_output = layer.index.repeat_interleave(32 // len(layer.index), dim=0)
    reads = (per_output == 3).any(1)
    assert 0 < reads.sum() < 32
    assert not made[0, reads].isfinite().any()
    torch.testing.assert_close(made[1], finite[1])  # other images stay as they are
    others = made[0, ~reads]  # of which the forms differ, as the docstring says
    same = torch.isclose(others, finite[0, ~reads], rtol=1e-4, atol=1e-5)
    assert (same | others.isnan()).all()
