"""Memory of a network: tensors saved for backward in training, tensors alive at once in inference."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from skipweave.tracing.held_tensors import tensors_of_tree


def saved_bytes(model: nn.Module, images: Tensor, *, plain: bool = False) -> int:
    """Count the bytes that a forward pass in training mode saves for backward.

    Each storage counts once, however many tensors share it; parameters and buffers do not count. On the meta device
    nothing is allocated and the figure is the same as on the CPU. With activation checkpointing, only the saved
    activations count.

    Args:
        model: Network on the device of `images`; it is set to training mode, and running statistics are updated.
        images: (N, C, H, W).
        plain: Call every layer as it is, so that each saves what torch saves for it, as in other libraries. The default
            is what training saves (`skipweave.layers.read_and_run`).
    """
    own = {_storage(tensor) for tensor in (*model.parameters(), *model.buffers())}
    saved: dict[int, torch.UntypedStorage] = {}  # holding the storages keeps their addresses unique

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in own:
            saved[_storage(tensor)] = tensor.untyped_storage()
        return tensor

    model.train()
    with ExitStack() as stack:
        for module in model.modules() if plain else ():  # modules with hooks are called as they are
            stack.callback(module.register_forward_hook(lambda *_: None).remove)
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor))
        model(images)
    return sum(storage.nbytes() for storage in saved.values())


def peak_inference_bytes(model: nn.Module, images: Tensor) -> int:
    """Compute the peak memory of activations during a forward pass in inference mode, in bytes.

    A tensor counts while it is alive, each storage once: nodes that are still to be read, and intermediate results of a
    layer. Parameters, buffers, the images and the workspace of a single operation do not count. On the meta device
    nothing is allocated, and the figure is that of torch's operations; on the CPU the C library needs less.

    Args:
        model: Network on the device of `images`; it is set to evaluation mode.
        images: (N, C, H, W).
    """
    model.eval()
    with torch.inference_mode():
        return peak_bytes(lambda: model(images), (*model.parameters(), *model.buffers(), images))


def peak_bytes(work: Callable[[], object], others: Iterable[Tensor]) -> int:
    """Compute the peak memory of tensors during a call, in bytes, counted as in `peak_inference_bytes`."""
    with _LiveTensors(others) as live:
        work()
    return live.peak


class _LiveTensors(TorchDispatchMode):
    """Dispatch mode that sums the storages of live results.

    Attributes:
        peak: Largest sum after an operation, in bytes.
    """

    def __init__(self, others: Iterable[Tensor]) -> None:
        super().__init__()
        self.peak = 0
        self._others = {StorageWeakRef(tensor.untyped_storage()) for tensor in others}
        self._bytes: dict[StorageWeakRef, int] = {}
        self._total = 0  # sum of the above

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for storage in map(Tensor.untyped_storage, tensors_of_tree(made)):
            if (weak := StorageWeakRef(storage)) not in self._others:
                self._total += storage.nbytes() - self._bytes.get(weak, 0)
                self._bytes[weak] = storage.nbytes()
        if self._total > self.peak:  # possibly: freed storages are only searched for here
            self._bytes = {weak: size for weak, size in self._bytes.items() if not weak.expired()}
            self._total = sum(self._bytes.values())
            self.peak = max(self.peak, self._total)
        return made


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
