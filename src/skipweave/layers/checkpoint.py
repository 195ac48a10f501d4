"""Recomputation in the backward pass that updates running statistics only once."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
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
    if torch.compiler.is_compiling():  # a compiled recomputation leaves buffers alone by itself
        return checkpoint(run, *inputs, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _copied_statistics(module)

    return checkpoint(run, *inputs, use_reentrant=False, context_fn=contexts)


@contextmanager
def _copied_statistics(module: nn.Module) -> Iterator[None]:
    """Let every batch norm of the module update copies of its running statistics, thrown away at the end."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    originals = [dict(norm._buffers) for norm in norms]
    for norm in norms:
        for name, buffer in norm._buffers.items():
            norm._buffers[name] = None if buffer is None else buffer.clone()
    try:
        yield
    finally:
        for norm, buffers in zip(norms, originals, strict=True):
            norm._buffers.update(buffers)
