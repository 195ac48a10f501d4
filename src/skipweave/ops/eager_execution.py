"""Whether custom kernels and autograd functions may replace reference definitions: only in plain eager execution.

A kernel accesses memory without torch's dispatcher, invisible to tracers, `FakeTensorMode`, FLOP counters, forward-mode
AD and the transforms of `torch.func`. The states known to be plain are therefore listed here; in all others the
reference definitions run.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._device import DeviceContext

_TYPES = (Tensor, nn.Parameter)
_keys = torch._C._dispatch_keys
_included = torch._C._dispatch_tls_local_include_set


def _bits(*keys: str) -> int:
    """Bit mask of dispatch keys; torch's Python interface has neither union nor difference of key sets."""
    bits = 0
    for key in keys:
        bits |= torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key)).raw_repr()
    return bits


_PLAIN_STATE = _bits("BackendSelect", "ADInplaceOrView")
_DISPATCH_MODES = _bits("Python", "PythonTLSSnapshot")
_PLAIN_TENSOR = _bits("CPU", "CUDA", "AutogradCPU", "AutogradCUDA", "AutocastCPU", "AutocastCUDA", "ADInplaceOrView")


def is_eager(*tensors: Any) -> bool:
    """Whether a custom autograd function, which runs torch's operators immediately, may process these tensors.

    False under `torch.compile`, `torch.export`, `torch.jit.trace`, `torch.fx`, the transforms of `torch.func`,
    forward-mode AD or a torch-function mode, and for subclasses of `Tensor`. True under a torch-dispatch mode, which
    sees every operator inside.
    """
    return _has_state(_PLAIN_STATE | _DISPATCH_MODES) and all(type(tensor) in _TYPES for tensor in tensors)


def is_plain(*tensors: Any) -> bool:
    """Whether a kernel may access the memory of these tensors: `is_eager`, without any dispatch mode.

    True only for plain strided CPU or CUDA tensors: not for conjugated, quantized, sparse, batched, fake or meta ones.
    """
    if not _has_state(_PLAIN_STATE):
        return False
    return all(type(tensor) in _TYPES and not _keys(tensor).raw_repr() & ~_PLAIN_TENSOR for tensor in tensors)


def allows_kernel(*tensors: Any) -> bool:
    """`is_plain` and no gradient is recorded, so that a kernel unknown to autograd may compute the result."""
    return is_plain(*tensors) and not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))


def _has_state(allowed: int) -> bool:
    """Whether torch runs eagerly and this thread includes no dispatch keys other than those allowed."""
    if torch.compiler.is_compiling() or _included().raw_repr() & ~allowed or forward_ad._current_level >= 0:
        return False
    modes = torch._C._len_torch_function_stack()  # `with torch.device(...)` is harmless: it changes no computation
    return not modes or all(type(torch._C._get_function_stack_at(at)) is DeviceContext for at in range(modes))
