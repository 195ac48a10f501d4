"""One epoch of batches whose content depends on (seed, epoch) alone, never on workers, ranks or where it starts."""

import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from skipweave.data.loader_workers import Loader, check_workers
from skipweave.data.seeding import mix_seed, permutation
from skipweave.data.splits import Indices
from skipweave.errors import SkipweaveError

Batch = tuple[Tensor, Tensor]


class _Readable(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]: ...


def steps_per_epoch(size: int, batch_size: int, *, world_size: int = 1, drop_last: bool = False) -> int:
    """Count the global batches of an epoch.

    Args:
        size: images in the set.
        batch_size: images a rank takes at each step.
        world_size: number of ranks.
        drop_last: whether an incomplete last global batch is left out.

    Returns:
        The steps of rank 0, which no other rank exceeds.
    """
    whole, left = divmod(size, batch_size * world_size)
    return whole if drop_last or not left else whole + 1


def batch_indices(size: int, batch_size: int, *, seed: int, epoch: int, step: int) -> list[int]:
    """Which samples a shuffled epoch's global batch holds, in the order in which `epoch_loader` gives them.

    Args:
        size: samples in the set.
        batch_size: samples of all ranks together.
        seed: of the run.
        epoch: number of the epoch.
        step: number of the batch in it.
    """
    indices: list[int] = permutation(size, seed, epoch)[step * batch_size :][:batch_size].tolist()
    return indices


def epoch_loader(
    dataset: _Readable,
    transform: Callable[..., Any],
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    shuffle: bool,
    start_step: int = 0,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    pin_memory: bool = False,
    drop_last: bool = False,
) -> Iterator[Batch]:
    """Iterate over one epoch in batches of (images, labels).

    The order is a pure function of (seed, epoch), and the randomness of a sample's transform one of
    (seed, epoch, sample index): torch's generator on the CPU is seeded for each sample and put back afterwards.
    Batches are therefore equal, bit for bit, for any number of workers and from any starting step, and torch's
    global random state is left as it was.

    A global batch holds `batch_size * world_size` samples, of which each rank takes a consecutive share. An incomplete
    last one is shared as evenly as possible: shares differ by at most one sample, and a rank whose share is empty
    ends one step earlier. So every sample is met exactly once over all ranks, as an evaluation needs; training on
    several ranks, which must step together, takes `drop_last`.

    Workers are started for this epoch and end with it: forked, as on Linux, that costs about a tenth of a second each.
    Elsewhere each imports torch anew, seconds an epoch, which only large images repay.

    Args:
        dataset: gives (image, label) by index; the label is a class index, or a map of them (H, W).
        transform: makes the tensor that the network takes from an image, or from image and label map both; its
            randomness comes from torch's CPU generator.
        batch_size: samples a rank takes at each step.
        seed: of the run.
        epoch: number of the epoch, which with the seed decides order and randomness.
        shuffle: whether to shuffle; otherwise samples come by index.
        start_step: batches to skip without reading them.
        rank: which share to take, in [0, world_size).
        world_size: number of ranks.
        workers: processes that read ahead; 0 reads in this one.
        pin_memory: put batches into page-locked memory, for quick copies to an accelerator.
        drop_last: leave out an incomplete last global batch.

    Returns:
        An iterator over (float images NCHW, int64 labels N or NHW).

    Raises:
        SkipweaveError: a value is out of range; while iterating, an image cannot be read (from a worker too), or the
            images of a batch differ in size.
    """
    if batch_size < 1:
        raise SkipweaveError(f"batch_size is {batch_size}: expected at least 1")
    if not 0 <= rank < world_size:
        raise SkipweaveError(f"rank is {rank} of {world_size}: expected 0 <= rank < world_size")
    check_workers(workers)
    steps = steps_per_epoch(len(dataset), batch_size, world_size=world_size, drop_last=drop_last)
    if not 0 <= start_step <= steps:
        raise SkipweaveError(f"start_step is {start_step}: this epoch has {steps} steps")
    order = permutation(len(dataset), seed, epoch) if shuffle else np.arange(len(dataset))
    stride = batch_size * world_size
    shares = (np.array_split(order[step * stride :][:stride], world_size)[rank] for step in range(start_step, steps))
    loader: Loader[Batch | SkipweaveError] = Loader(
        _Batches(dataset, transform, seed, epoch),
        sampler=[share for share in shares if len(share)],
        batch_size=None,  # the sampler gives whole batches
        collate_fn=_as_it_is,
        num_workers=workers,
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # else starting an epoch would draw from the global generator
    )
    return _raising(loader)


class _Batches(Dataset[Batch | SkipweaveError]):
    """Reads and transforms a whole batch; gives back a user's error as a value, since a worker cannot raise it well."""

    def __init__(self, dataset: _Readable, transform: Callable[..., Any], seed: int, epoch: int) -> None:
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self.epoch = epoch

    def __getitem__(self, indices: Indices) -> Batch | SkipweaveError:
        with torch.random.fork_rng(devices=[]):
            try:
                samples = [self._sample(index) for index in indices.tolist()]
                return _stack([image for image, _ in samples]), _stack([label for _, label in samples])
            except SkipweaveError as error:
                return SkipweaveError(str(error))

    def _sample(self, index: int) -> Batch:
        try:
            image, label = self.dataset[index]
        except SkipweaveError as error:
            raise SkipweaveError(f"{error}; `skipweave check-data` lists all such files") from None
        # not torch.manual_seed, which would reseed accelerators too
        torch.default_generator.manual_seed(mix_seed(self.seed, self.epoch, index))
        if isinstance(label, Tensor):
            image, label = self.transform(image, label)
            return image, label
        return self.transform(image), torch.tensor(label)


def _stack(tensors: list[Tensor]) -> Tensor:
    sizes = {tuple(tensor.shape) for tensor in tensors}
    if len(sizes) > 1:
        shown = ", ".join(" x ".join(map(str, size[-2:])) for size in sorted(sizes)[:3])
        raise SkipweaveError(
            f"the images or label maps of a batch differ in size ({shown}, height x width): "
            f"use crops of one size, or a batch_size of 1"
        )
    return torch.stack(tensors)


def _as_it_is(batch: Any) -> Any:
    return batch


def _raising(loader: Loader[Batch | SkipweaveError]) -> Iterator[Batch]:
    for batch in loader:
        if isinstance(batch, SkipweaveError):
            raise batch
        yield batch
