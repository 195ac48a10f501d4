"""Where custom kernels and autograd functions may run."""

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from skipweave.ops.eager_execution import allows_kernel, is_eager, is_plain


class Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Function(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Subclass(Tensor):
    pass


def test_plain_eager_execution_allows_everything() -> None:
    x = torch.ones(2)
    assert is_eager(x, nn.Parameter(x))
    assert is_plain(x, nn.Parameter(x))
    with torch.no_grad(), torch.device("cpu"), torch.autocast("cpu", dtype=torch.bfloat16):
        assert is_eager(x)
        assert is_plain(x)
    with torch.inference_mode():
        assert is_plain(torch.ones(2))


def test_kernels_run_only_where_no_gradient_is_recorded() -> None:
    x = torch.ones(2, requires_grad=True)
    assert not allows_kernel(x)
    assert allows_kernel(x.detach())
    with torch.no_grad():
        assert allows_kernel(x)


def test_dispatch_modes_allow_autograd_functions_only() -> None:
    with Dispatch():
        assert (is_eager(torch.ones(2)), is_plain(torch.ones(2))) == (True, False)


@pytest.mark.parametrize("mode", [Function, forward_ad.dual_level], ids=["torch function mode", "forward-mode AD"])
def test_other_modes_allow_nothing(mode) -> None:
    x = torch.ones(2)
    with mode():
        assert not is_eager(x)
        assert not is_plain(x)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")
def test_transforms_and_tracers_allow_nothing() -> None:
    found: list[bool] = []

    def observe(x: Tensor) -> Tensor:
        found.append(is_eager(x) or is_plain(x))
        return x * 2

    torch.func.vmap(observe)(torch.ones(2, 3))
    torch.func.grad(lambda x: observe(x).sum())(torch.ones(2))
    torch.jit.trace(observe, torch.ones(2), check_trace=False)
    assert found == [False] * 3
    compiled = torch.compile(lambda x: x + int(is_eager(x) or is_plain(x)), backend="eager", fullgraph=True)
    assert not compiled(torch.zeros(2)).any()


def test_only_plain_memory_is_read() -> None:
    x = torch.ones(2)
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(x)
    views = [torch._neg_view(x), x.to("meta"), x.to_sparse(), fake, x.as_subclass(Subclass)]
    assert [is_plain(view) for view in views] == [False] * 5
    assert is_plain(x[::2], x.view(2, 1).T)
