"""Activation checkpointing that updates running statistics only once."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(module: nn.Module, *inputs: Tensor | torch.Size, part: Callable[..., Tensor] | None = None) -> Tensor:
    """Run a module, saving only its inputs, and recompute it in the backward pass.

    The recomputation stops after the last operation that saves a tensor, so a final convolution does not run again. It
    updates copies of the running statistics, which are discarded: the buffers are those of a single run. (In timm's and
    torchvision's DenseNets they are updated twice.)

    Args:
        module: Module to run.
        *inputs: Its inputs.
        part: Method of the module to run in place of `forward`.
    """
    run = part or module
    if torch.compiler.is_compiling() or get_proxy_mode() is not None:
        # A traced recomputation does not update buffers, and does not support contexts.
        return checkpoint(run, *inputs, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _CopiedStatistics(module)

    return checkpoint(run, *inputs, use_reentrant=False, context_fn=contexts)


class _CopiedStatistics:
    """Replaces the running statistics of all batch norms of a module by copies, until exit.

    Entered once per recomputation: again for gradients of gradients.
    """

    def __init__(self, module: nn.Module) -> None:
        self.norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]

    def __enter__(self) -> None:
        self.originals = [dict(norm._buffers) for norm in self.norms]
        for norm in self.norms:
            for name, buffer in norm._buffers.items():
                norm._buffers[name] = None if buffer is None else buffer.clone()

    def __exit__(self, *_: object) -> None:
        for norm, buffers in zip(self.norms, self.originals, strict=True):
            norm._buffers.update(buffers)
