"""Recomputation in the backward pass that updates running statistics only once."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(module: nn.Module, *inputs: Tensor | torch.Size, part: Callable[..., Tensor] | None = None) -> Tensor:
    """Run a module of batch norms and convolutions, keeping only its inputs for the backward pass.

    The module runs once more in the backward pass, up to the last operation that keeps something: a convolution at its
    end does not. Running statistics are those of one run: the second works on copies. (In timm's and torchvision's
    DenseNets they are updated twice.)

    Args:
        module: What is run.
        *inputs: What it is called with.
        part: A method of the module, to be run in place of all of it.
    """
    run = part or module
    if torch.compiler.is_compiling() or get_proxy_mode() is not None:
        # A traced recomputation leaves buffers alone by itself, and takes no contexts.
        return checkpoint(run, *inputs, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _CopiedStatistics(module)

    return checkpoint(run, *inputs, use_reentrant=False, context_fn=contexts)


class _CopiedStatistics:
    """Lets every batch norm of a module update copies of its running statistics, thrown away at the end.

    Entered once for each time that the backward pass recomputes: again for a gradient of the gradient.
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
