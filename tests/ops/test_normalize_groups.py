"""`normalize_groups_low_memory` against its reference definition."""

import pytest
import torch
from torch import Tensor

from skipweave.ops import normalize_groups, normalize_groups_low_memory


def images(layout: torch.memory_format = torch.contiguous_format) -> Tensor:
    torch.manual_seed(0)
    return (5 * torch.randn(3, 6, 5, 4, dtype=torch.float64) + 2).to(memory_format=layout).requires_grad_()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("groups", [1, 3])
def test_equals_the_reference(layout: torch.memory_format, groups: int) -> None:
    x = images(layout)
    upstream = torch.randn_like(x)
    results = []
    for function in (normalize_groups_low_memory, normalize_groups):
        out = function(x, groups, 1e-5)
        assert out.is_contiguous(memory_format=layout)
        results.append((out, *torch.autograd.grad(out, x, upstream)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-10)


def test_first_and_second_derivatives() -> None:
    x = images()[:, :, :2, :2].detach().requires_grad_()
    assert torch.autograd.gradcheck(normalize_groups_low_memory, (x, 3, 1e-5))
    assert torch.autograd.gradgradcheck(normalize_groups_low_memory, (x, 3, 1e-5))


def test_saves_only_its_output() -> None:
    saved: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        saved.append(tensor.data_ptr() if tensor.dim() == 4 else 0)
        return tensor

    x = images()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = normalize_groups_low_memory(x, 3, 1e-5)
    assert set(saved) == {0, out.data_ptr()}


def test_autocast_keeps_the_data_type() -> None:
    x = images().to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for function in (normalize_groups_low_memory, normalize_groups):
            assert function(x, 2, 1e-5).dtype == torch.bfloat16
