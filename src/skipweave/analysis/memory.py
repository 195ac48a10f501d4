"""What training keeps: the tensors that a forward pass saves for its backward pass."""

import torch
from torch import Tensor, nn


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


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
