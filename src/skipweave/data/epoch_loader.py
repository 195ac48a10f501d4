"""Reproducible epochs: batches are a function of (seed, epoch), for any number of workers, ranks and starting step."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from skipweave.data.batch_augmentation import TrainTransform
from skipweave.data.image_datasets import Label, MemoryDataset
from skipweave.data.loader_workers import Loader
from skipweave.data.sampling import epoch_order
from skipweave.data.seeding import mix_seed
from skipweave.data.splits import Indices, Labels
from skipweave_config.errors import SkipweaveError

Batch = tuple[Tensor, Tensor]
LoaderTransform = Callable[..., Any] | TrainTransform


class _Dataset(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, Label | Tensor]: ...


def steps_per_epoch(size: int, batch_size: int, *, world_size: int = 1, drop_last: bool = False) -> int:
    """Count the global batches of an epoch.

    Args:
        size: Number of samples.
        batch_size: Samples per rank and step.
        world_size: Number of ranks.
        drop_last: Whether to drop an incomplete last global batch.

    Returns:
        The number of steps of rank 0, the largest of all ranks.
    """
    whole, left = divmod(size, batch_size * world_size)
    return whole if drop_last or not left else whole + 1


def batch_indices(
    size: int, batch_size: int, *, seed: int, epoch: int, step: int, balance: Labels | None = None
) -> list[int]:
    """Return the sample indices of a global batch of a shuffled epoch, in the order of `epoch_loader`.

    Args:
        size: Number of samples.
        batch_size: Samples per step over all ranks.
        seed: Seed of the run.
        epoch: Epoch.
        step: Step within the epoch.
        balance: As for `epoch_loader`.
    """
    order = epoch_order(size, seed, epoch, balance)
    indices: list[int] = (order[step * batch_size :][:batch_size] % size).tolist()
    return indices


def evaluated_indices(size: int, batch_size: int, *, rank: int, world_size: int) -> Indices:
    """Return the sample indices that `epoch_loader` loads in a process, in its order, without shuffling.

    Args:
        size: Number of samples.
        batch_size: Samples per rank and step.
        rank: Rank of the process.
        world_size: Number of ranks.
    """
    steps = range(steps_per_epoch(size, batch_size, world_size=world_size))
    return np.concatenate(list(_chunks(np.arange(size), batch_size, steps, rank, world_size)))


def _chunks(order: Indices, batch_size: int, steps: range, rank: int, world_size: int) -> Iterator[Indices]:
    """A rank's part of each global batch."""
    stride = batch_size * world_size
    return (np.array_split(order[step * stride :][:stride], world_size)[rank] for step in steps)


def epoch_loader(
    dataset: _Dataset,
    transform: LoaderTransform,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    shuffle: bool,
    balance: Labels | None = None,
    start_step: int = 0,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    pin_memory: bool = False,
    drop_last: bool = False,
) -> Iterator[Batch]:
    """Iterate over one epoch in batches of (images, labels).

    The order is a pure function of (seed, epoch), and the randomness of a sample's transform one of
    (seed, epoch, sample index, repetition): torch's CPU generator is seeded for each sample and restored afterwards;
    what a `TrainTransform` does to whole batches hashes the same. Batches are
    therefore bitwise equal for any number of workers and from any starting step, and torch's global random state does
    not change.

    A global batch holds `batch_size * world_size` samples, in consecutive chunks per rank. An incomplete last batch is
    divided as evenly as possible: chunks differ by at most one sample, and a rank whose chunk is empty ends one step
    earlier. Every sample is thus loaded exactly once over all ranks, as evaluation requires; training on several
    ranks, which must step together, uses `drop_last`.

    Workers are started for each epoch. Forked, as on Linux, each takes about a tenth of a second to start. Elsewhere
    each worker imports torch, which takes seconds per epoch and only pays off for large images.

    Args:
        dataset: Map-style dataset of (image, label); the label is a class index, 0 and 1 per class, or a
            segmentation mask (H, W).
        transform: Transform of an image, or of image and mask, whose randomness comes from torch's CPU generator; or a
            `TrainTransform`.
        batch_size: Samples per rank and step.
        seed: Seed of the run.
        epoch: Epoch; together with the seed it determines order and augmentation.
        shuffle: Whether to shuffle; otherwise samples are ordered by index.
        balance: Class index of each sample, to draw every class equally often; None draws every sample once.
        start_step: Number of batches to skip without loading them.
        rank: Rank of this process, in [0, world_size).
        world_size: Number of ranks.
        workers: Worker processes; 0 loads in the calling process.
        pin_memory: Whether to copy batches to pinned memory.
        drop_last: Whether to drop an incomplete last global batch.

    Returns:
        An iterator over (float images NCHW, int64 labels N or NHW, or uint8 labels of 0 and 1, (N, classes)).

    Raises:
        SkipweaveError: A value is out of range; while iterating, an image cannot be read, also in a worker, or the
            images of a batch differ in size.
    """
    if batch_size < 1:
        raise SkipweaveError(f"batch_size is {batch_size}: expected at least 1")
    if not 0 <= rank < world_size:
        raise SkipweaveError(f"rank is {rank} of {world_size}: expected 0 <= rank < world_size")
    steps = steps_per_epoch(len(dataset), batch_size, world_size=world_size, drop_last=drop_last)
    if not 0 <= start_step <= steps:
        raise SkipweaveError(f"start_step is {start_step}: this epoch has {steps} steps")
    order = epoch_order(len(dataset), seed, epoch, balance) if shuffle else np.arange(len(dataset))
    chunks = _chunks(order, batch_size, range(start_step, steps), rank, world_size)
    loader: Loader[Batch | SkipweaveError] = Loader(
        _Batches(dataset, transform, seed, epoch),
        workers,
        sampler=[chunk for chunk in chunks if len(chunk)],  # whole batches
        pin_memory=pin_memory,
        generator=torch.Generator(),  # otherwise starting an epoch draws from the global generator
    )
    return _raising(loader)


class _Batches(Dataset[Batch | SkipweaveError]):
    """Dataset of whole batches; a user's error is returned as a value, since workers cannot raise it."""

    def __init__(self, dataset: _Dataset, transform: LoaderTransform, seed: int, epoch: int) -> None:
        self.dataset = dataset
        self.seed = seed
        self.epoch = epoch
        self.per_batch = None
        self.transform: Callable[..., Any] | None
        if isinstance(transform, TrainTransform):
            self.transform, self.per_batch = transform.per_image, transform.per_batch
        else:
            self.transform = transform

    def __getitem__(self, indices: Indices) -> Batch | SkipweaveError:
        try:
            images, labels = self._read(indices)
        except SkipweaveError as error:
            return SkipweaveError(str(error))
        if self.per_batch:
            images = self.per_batch(images, indices, seed=self.seed, epoch=self.epoch)
        return images, labels

    def _read(self, indices: Indices) -> Batch:
        if self.transform is None and isinstance(self.dataset, MemoryDataset):
            samples = indices % len(self.dataset)
            return self.dataset.images[samples], torch.from_numpy(self.dataset.labels[samples])
        with _kept_generators():
            loaded = [self._sample(draw) for draw in indices.tolist()]
        return _stack([image for image, _ in loaded]), _stack([label for _, label in loaded])

    def _sample(self, draw: int) -> Batch:
        """Load a sample by its number in `epoch_order`."""
        seed = mix_seed(self.seed, self.epoch, draw)  # before loading, as datasets may be random
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed accelerators too
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            image, label = self.dataset[draw % len(self.dataset)]
        except SkipweaveError as error:
            raise SkipweaveError(f"{error}; `skipweave check-data` lists all such files") from None
        if isinstance(label, Tensor) and self.transform:
            image, label = self.transform(image, label)
            return image, label
        return self.transform(image) if self.transform else image, torch.as_tensor(label)


@contextmanager
def _kept_generators() -> Iterator[None]:
    """Restore the CPU generators of torch, NumPy and Python afterwards."""
    ours, numpys = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)


def _stack(tensors: list[Tensor]) -> Tensor:
    sizes = {tuple(tensor.shape) for tensor in tensors}
    if len(sizes) > 1:
        shown = ", ".join(" x ".join(map(str, size[-2:])) for size in sorted(sizes)[:3])
        raise SkipweaveError(
            f"the images or masks of a batch differ in size ({shown}, height x width): "
            f"expected one size: use crop, or a batch_size of 1"
        )
    return torch.stack(tensors)


def _raising(loader: Loader[Batch | SkipweaveError]) -> Iterator[Batch]:
    for batch in loader:
        if isinstance(batch, SkipweaveError):
            raise batch
        yield batch
