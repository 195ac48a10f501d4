"""When our own kernels and autograd functions may stand in for a definition: in plain eager execution, nowhere else.

A kernel reads and writes memory beside torch's dispatcher, where tracers, `FakeTensorMode`, FLOP counters, forward-mode
AD and the transforms of `torch.func` cannot see it. So what is known to be plain is listed here, and everything else,
known or not, takes the definition.
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
    """Bits of dispatch keys, of which torch's Python interface knows neither union nor difference."""
    bits = 0
    for key in keys:
        bits |= torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key)).raw_repr()
    return bits


_PLAIN_STATE = _bits("BackendSelect", "ADInplaceOrView")
_DISPATCH_MODES = _bits("Python", "PythonTLSSnapshot")
_PLAIN_TENSOR = _bits("CPU", "CUDA", "AutogradCPU", "AutogradCUDA", "AutocastCPU", "AutocastCUDA", "ADInplaceOrView")


def is_eager(*tensors: Any) -> bool:
    """Whether an autograd function of ours may compute on tensors: it runs torch's operators, now.

    Not under `torch.compile`, `torch.export`, `torch.jit.trace`, `torch.fx`, the transforms of `torch.func`,
    forward-mode AD or a torch-function mode, and not on subclasses of `Tensor`. Under a torch-dispatch mode it may,
    which sees every operator inside.
    """
    return _has_state(_PLAIN_STATE | _DISPATCH_MODES) and all(type(tensor) in _TYPES for tensor in tensors)


def is_plain(*tensors: Any) -> bool:
    """Whether a kernel may read the memory of tensors: as `is_eager`, with nobody to watch.

    Not under a torch-dispatch mode either, and only on tensors that are nothing but strided memory of a CPU or a GPU:
    not on conjugated, quantized, sparse, batched, fake or meta ones.
    """
    if not _has_state(_PLAIN_STATE):
        return False
    return all(type(tensor) in _TYPES and not _keys(tensor).raw_repr() & ~_PLAIN_TENSOR for tensor in tensors)


def allows_kernel(*tensors: Any) -> bool:
    """`is_plain` where no gradient is recorded: what a kernel that autograd does not know makes can be used."""
    return is_plain(*tensors) and not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))


def _has_state(allowed: int) -> bool:
    """Whether torch runs eagerly, and no dispatch keys are included for this thread but those allowed."""
    if torch.compiler.is_compiling() or _included().raw_repr() & ~allowed or forward_ad._current_level >= 0:
        return False
    modes = torch._C._len_torch_function_stack()  # that of `torch.device(...)` as a context changes no computation
    return not modes or all(type(torch._C._get_function_stack_at(at)) is DeviceContext for at in range(modes))
