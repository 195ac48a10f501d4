import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from skipweave.data import (
    DataConfig,
    FileDataset,
    MemoryDataset,
    epoch_loader,
    evaluated_indices,
    load,
    steps_per_epoch,
)
from tests.errors import raises


class Noise(nn.Module):
    """Transform with torch's random generator, like those of torchvision."""

    def forward(self, image):
        return image.float() + torch.rand(image.shape) + torch.randint(10, ())


class Counted(MemoryDataset):
    """Dataset that records which images were loaded."""

    def __init__(self, images, labels):
        super().__init__(images, labels)
        self.read = []

    def __getitem__(self, index):
        self.read.append(index)
        return super().__getitem__(index)


def numbered(size, kind=MemoryDataset):
    """Images whose label is their index."""
    images = torch.arange(size).remainder(256).to(torch.uint8).view(size, 1, 1, 1).expand(size, 1, 2, 2)
    return kind(images, np.arange(size))


def batches(dataset, **options):
    settings = {"batch_size": 4, "seed": 0, "epoch": 0, "shuffle": True} | options
    return list(epoch_loader(dataset, Noise(), **settings))


def labels(dataset, **options):
    return [batch.tolist() for _, batch in batches(dataset, **options)]


def assert_equal(some, others):
    assert len(some) == len(others)
    for (images, marks), (other_images, other_marks) in zip(some, others, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(marks, other_marks)


def flat(lists):
    return list(itertools.chain.from_iterable(lists))


@given(st.integers(0, 40), st.integers(1, 9), st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_every_sample_is_loaded_once(size, batch_size, seed, epoch, shuffle):
    found = labels(numbered(size), batch_size=batch_size, seed=seed, epoch=epoch, shuffle=shuffle)
    assert sorted(flat(found)) == list(range(size))
    assert len(found) == steps_per_epoch(size, batch_size)
    assert shuffle or flat(found) == list(range(size))


@given(st.integers(0, 40), st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_ranks_share_the_batches_of_a_single_process(size, batch_size, world_size, drop_last):
    dataset, options = numbered(size), {"drop_last": drop_last, "epoch": 3}
    whole = batches(dataset, batch_size=batch_size * world_size, **options)
    parts = [
        batches(dataset, batch_size=batch_size, rank=rank, world_size=world_size, **options)
        for rank in range(world_size)
    ]
    steps = steps_per_epoch(size, batch_size, world_size=world_size, drop_last=drop_last)
    assert len(whole) == len(parts[0]) == steps
    for step, (images, marks) in enumerate(whole):
        shares = [part[step] for part in parts if step < len(part)]
        assert torch.equal(torch.cat([share[0] for share in shares]), images)
        assert torch.equal(torch.cat([share[1] for share in shares]), marks)
        counts = [len(share[1]) for share in shares] + [0] * (world_size - len(shares))
        assert max(counts) - min(counts) <= 1
    if drop_last:
        assert all(len(marks) == batch_size for part in parts for _, marks in part)


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 4))
def test_indices_of_a_rank_are_those_that_it_loads(size, batch_size, world_size):
    for rank in range(world_size):
        place = {"batch_size": batch_size, "rank": rank, "world_size": world_size}
        found = flat(labels(numbered(size), shuffle=False, **place))
        assert evaluated_indices(size, **place).tolist() == found


@given(st.integers(0, 40), st.integers(1, 9), st.data())
def test_skipped_batches_are_not_loaded(size, batch_size, data):
    start = data.draw(st.integers(0, steps_per_epoch(size, batch_size)))
    whole = batches(numbered(size), batch_size=batch_size)
    dataset = numbered(size, Counted)
    assert_equal(batches(dataset, batch_size=batch_size, start_step=start), whole[start:])
    assert len(dataset.read) == max(0, size - start * batch_size)


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_workers(workers):
    data = load(DataConfig())
    options = {"batch_size": 100, "seed": 3, "epoch": 5, "shuffle": True}
    alone = list(epoch_loader(data.train, data.train_transform, **options))
    assert_equal(alone, list(epoch_loader(data.train, data.train_transform, workers=workers, **options)))
    resumed = epoch_loader(data.train, data.train_transform, workers=workers, start_step=7, **options)
    assert_equal(alone[7:], list(resumed))


@pytest.mark.parametrize("workers", [0, 2])
def test_global_randomness_is_neither_used_nor_changed(workers):
    torch.manual_seed(1)
    first = batches(numbered(20), workers=workers)
    after_one = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), after_one)
    assert_equal(first, batches(numbered(20), workers=workers))


def test_randomness_depends_on_the_sample_not_its_batch():
    small = {
        int(mark): image for images, marks in batches(numbered(20)) for image, mark in zip(images, marks, strict=True)
    }
    for images, marks in batches(numbered(20), batch_size=7, shuffle=False):
        for image, mark in zip(images, marks, strict=True):
            assert torch.equal(image, small[int(mark)])


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_epochs_and_seeds_differ(seed, epoch):
    dataset = numbered(30)
    runs = [(seed, epoch), (seed, epoch + 1), (seed + 1, epoch)]
    orders = {str(labels(dataset, seed=one, epoch=other)) for one, other in runs}
    noise = {batches(dataset, seed=one, epoch=other, shuffle=False)[0][0].numpy().tobytes() for one, other in runs}
    assert len(orders) == len(noise) == 3


def test_labels_are_int64_and_images_stacked():
    images, marks = batches(numbered(4))[0]
    assert images.shape == (4, 1, 2, 2)
    assert marks.dtype == torch.int64


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_raises_one_line_also_in_a_worker(tmp_path, workers):
    (tmp_path / "broken.png").write_bytes(b"no image")
    dataset = FileDataset([tmp_path / "broken.png"] * 3, [0, 1, 2], in_chans=3)
    with raises(tmp_path / "broken.png"):
        batches(dataset, workers=workers, batch_size=1)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"batch_size": 0}, ("batch_size", 0)),
        ({"rank": 2, "world_size": 2}, ("rank", 2)),
        ({"start_step": 4}, ("start_step", 4, 3)),
        ({"start_step": -1}, ("start_step", -1)),
    ],
)
def test_values_out_of_range_raise_before_loading(options, named):
    with raises(*named):
        epoch_loader(numbered(10), Noise(), **({"batch_size": 4, "seed": 0, "epoch": 0, "shuffle": True} | options))


@given(st.integers(0, 100), st.integers(1, 10), st.integers(1, 4))
def test_steps_count_global_batches(size, batch_size, world_size):
    assert steps_per_epoch(size, batch_size, world_size=world_size) == -(-size // (batch_size * world_size))
    assert steps_per_epoch(size, batch_size, world_size=world_size, drop_last=True) == size // (batch_size * world_size)


class RandomImages:
    """Images made of random numbers of all three generators."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        values = [random.random(), np.random.rand(), torch.rand(()).item()]
        return torch.tensor(values).view(3, 1, 1), index


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_may_draw_from_any_generator(workers):
    def epoch(number, workers=workers):
        options = {"batch_size": 2, "seed": 0, "epoch": number, "shuffle": False, "workers": workers}
        return torch.cat([images for images, _ in epoch_loader(RandomImages(), lambda image: image, **options)])

    states = random.getstate(), np.random.get_state()[1].tolist()
    assert torch.equal(epoch(0), epoch(0, workers=0))
    assert (epoch(0) != epoch(1)).all()
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
