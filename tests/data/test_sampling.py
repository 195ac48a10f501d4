import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from skipweave.data import DataConfig, MemoryDataset, batch_indices, epoch_loader, load
from skipweave.data.sampling import epoch_order
from skipweave.data.seeding import permutation

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda labels: np.array(labels, dtype=np.int64))


@given(LABELS, st.integers(0, 3), st.integers(0, 3))
def test_every_class_is_drawn_equally_often_and_its_samples_too(labels, seed, epoch):
    order = epoch_order(len(labels), seed, epoch, labels)
    assert order.shape == labels.shape
    assert len(set(order)) == len(order)
    samples = order % len(labels)
    counts = np.bincount(samples, minlength=len(labels))
    classes = np.unique(labels)
    assert np.ptp([counts[labels == label].sum() for label in classes]) <= 1
    for label in classes:
        assert np.ptp(counts[labels == label]) <= 1
    for sample, count in enumerate(counts):
        assert sorted(order[samples == sample] // len(labels)) == list(range(count))
    assert np.array_equal(order, epoch_order(len(labels), seed, epoch, labels))


def test_without_balance_every_sample_is_drawn_once():
    assert np.array_equal(epoch_order(20, 3, 5), permutation(20, 3, 5))


def test_epochs_draw_different_samples_of_a_large_class():
    labels = np.array([0] * 90 + [1] * 10)
    drawn = [{*(epoch_order(100, 0, epoch, labels) % 100)} for epoch in range(8)]
    assert drawn[0] != drawn[1]
    assert set().union(*drawn) == set(range(100))


class Noise:
    def __call__(self, image):
        return image + torch.rand(1)


def imbalanced():
    images = torch.arange(40).view(40, 1, 1, 1)
    return MemoryDataset(images, np.array([0] * 36 + [1] * 4))


def balanced_batches(**options):
    data = imbalanced()
    return list(
        epoch_loader(data, Noise(), batch_size=4, seed=1, epoch=2, shuffle=True, balance=data.labels, **options)
    )


def test_repetitions_of_a_sample_are_augmented_differently():
    images = torch.cat([images for images, _ in balanced_batches()]).flatten()
    assert len(images.unique()) == 40
    assert len(images.floor().unique()) < 40


def test_any_worker_process_and_starting_step_loads_the_same_batches():
    whole = balanced_batches()
    for number, (images, labels) in enumerate(balanced_batches(workers=2, start_step=3), start=3):
        assert torch.equal(images, whole[number][0])
        assert torch.equal(labels, whole[number][1])
    parts = [
        list(
            epoch_loader(
                imbalanced(),
                Noise(),
                batch_size=2,
                seed=1,
                epoch=2,
                shuffle=True,
                balance=imbalanced().labels,
                rank=rank,
                world_size=2,
            )
        )
        for rank in (0, 1)
    ]
    for (images, _), *both in zip(whole, *parts, strict=True):
        assert torch.equal(images, torch.cat([part for part, _ in both]))


def test_the_indices_of_a_batch_are_those_that_are_loaded():
    labels = imbalanced().labels
    for step, (images, _) in enumerate(balanced_batches()):
        indices = batch_indices(40, 4, seed=1, epoch=2, step=step, balance=labels)
        assert indices == images.flatten().long().tolist()


def test_the_config_asks_for_balance(tmp_path, make_images):
    make_images(tmp_path, {"cat": 6, "ape": 30})
    options = dict(name="folder", root=tmp_path, image_size=8)
    assert load(DataConfig(**options)).balance is None
    data = load(DataConfig(**options, sampling="balanced"))
    assert np.array_equal(data.balance, data.train.labels)
    drawn = list(
        itertools.chain(
            *(batch_indices(len(data.train), 5, seed=0, epoch=0, step=s, balance=data.balance) for s in range(5))
        )
    )
    assert np.bincount(data.train.labels[drawn]).min() >= 10
