"""What memory holds: tensors saved for the backward pass in training, tensors alive at once in inference."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def saved_bytes(model: nn.Module, images: Tensor) -> int:
    """Bytes that one forward pass in training mode saves for its backward pass.

    Storages are counted once however many tensors share them; parameters and buffers are not counted. On the meta
    device nothing is allocated and the figure is the same as on the CPU. Networks that recompute count what they keep.

    Args:
        model: Put in training mode and left there; on the device of `images`. Running statistics are updated.
        images: (N, C, H, W).
    """
    own = {_storage(tensor) for tensor in (*model.parameters(), *model.buffers())}
    saved: dict[int, torch.UntypedStorage] = {}  # holding the storages keeps their addresses unique

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in own:
            saved[_storage(tensor)] = tensor.untyped_storage()
        return tensor

    model.train()
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(images)
    return sum(storage.nbytes() for storage in saved.values())


def peak_inference_bytes(model: nn.Module, images: Tensor) -> int:
    """Bytes of the tensors that are alive at once, at most, during one forward pass in inference mode.

    A tensor counts from the operation that makes it until nobody holds it any more, its storage once however many
    tensors share it: nodes that are still to be read, and what a layer makes on its way to its result. Parameters,
    buffers and the images are not counted, nor what a kernel needs within one operation. On the meta device nothing is
    allocated, and the figure is that of torch's own operations; on the CPU the C library takes less.

    Args:
        model: Put in evaluation mode and left there; on the device of `images`.
        images: (N, C, H, W).
    """
    model.eval()
    with torch.inference_mode():
        return peak_bytes(lambda: model(images), (*model.parameters(), *model.buffers(), images))


def peak_bytes(work: Callable[[], object], others: Iterable[Tensor]) -> int:
    """Bytes of the tensors that are alive at once, at most, while some work is done; counted as in inference.

    Args:
        work: Called once. What it keeps counts to its end.
        others: Tensors that do not count.
    """
    with _Living(others) as living:
        work()
    return living.peak


class _Living(TorchDispatchMode):
    """Sees every operation's result, and adds up those that live.

    Attributes:
        peak: The most bytes that lived after an operation.
    """

    def __init__(self, others: Iterable[Tensor]) -> None:
        super().__init__()
        self.peak = 0
        self._others = {StorageWeakRef(tensor.untyped_storage()) for tensor in others}
        self._bytes: dict[StorageWeakRef, int] = {}
        self._total = 0  # of these

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for storage in (leaf.untyped_storage() for leaf in tree_leaves(made) if isinstance(leaf, Tensor)):
            if (weak := StorageWeakRef(storage)) not in self._others:
                self._total += storage.nbytes() - self._bytes.get(weak, 0)
                self._bytes[weak] = storage.nbytes()
        if self._total > self.peak:  # perhaps: the dead are looked for only where they matter
            self._bytes = {weak: size for weak, size in self._bytes.items() if not weak.expired()}
            self._total = sum(self._bytes.values())
            self.peak = max(self.peak, self._total)
        return made


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
