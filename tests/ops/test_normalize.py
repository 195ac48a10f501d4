"""The lean normalization against its definition."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from skipweave.ops import normalize_low_memory


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_lean_norm_is_batch_norm(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    x = (5 * torch.randn(4, 3, 6, 6, dtype=torch.float64) + 2).to(memory_format=layout).requires_grad_()
    upstream = torch.randn_like(x)
    results = []
    for form in (normalize_low_memory, lambda x, mean, var, *rest: F.batch_norm(x, mean, var, None, None, True, *rest)):
        mean, var = torch.full((3,), 0.5, dtype=torch.float64), torch.full((3,), 2.0, dtype=torch.float64)
        out = form(x, mean, var, 0.1, 1e-5)
        assert out.is_contiguous(memory_format=layout)
        results.append((out, mean, var, *torch.autograd.grad(out, x, upstream)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-10)


def test_the_lean_norm_keeps_its_result_only() -> None:
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.data_ptr() if tensor.dim() == 4 else 0)
        return tensor

    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = normalize_low_memory(x, None, None, 0.1, 1e-5)
    assert set(kept) == {0, out.data_ptr()}
