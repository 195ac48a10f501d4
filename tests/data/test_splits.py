import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipweave.data.splits import stratified_folds, stratified_split
from tests.errors import raises

LABELS = st.lists(st.integers(0, 4), max_size=80).map(lambda labels: np.array(labels, dtype=np.int64))


@given(LABELS, st.data())
def test_every_image_is_in_one_part_and_classes_keep_their_fraction(labels, data):
    sizes = np.bincount(labels, minlength=5)
    most = len(labels) - np.count_nonzero(sizes)
    count = data.draw(st.integers(0, most))
    rest, held = stratified_split(labels, count, data.draw(st.integers(0, 5)), "validation")
    assert len(held) == count
    assert np.array_equal(np.sort(np.concatenate([rest, held])), np.arange(len(labels)))
    assert np.all(np.diff(rest) > 0)
    assert np.all(np.diff(held) > 0)
    kept = np.bincount(labels[rest], minlength=5)
    assert np.all(kept[sizes > 0] >= 1)
    if len(labels) and count * sizes.max(initial=0) / len(labels) <= sizes[sizes > 0].min() - 1:
        assert np.all(abs(np.bincount(labels[held], minlength=5) - count * sizes / len(labels)) < 1)


def test_a_fraction_is_taken_of_the_whole():
    labels = np.repeat([0, 1], [30, 70])
    _, held = stratified_split(labels, 0.1, 0, "validation")
    assert np.bincount(labels[held]).tolist() == [3, 7]


def test_the_split_depends_on_the_seed_alone():
    labels = np.arange(100) % 3
    first, again, other = (stratified_split(labels, 20, seed, "validation")[1] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("count", [9, 10, 100, -1])
def test_a_class_must_keep_an_image(count):
    with raises("validation", count, 10, 8):
        stratified_split(np.arange(10) % 2, count, 0, "validation")


@given(LABELS, st.integers(1, 8), st.integers(0, 5))
def test_folds_differ_by_at_most_one_image_overall_and_per_class(labels, folds, seed):
    fold = stratified_folds(labels, folds, seed)
    assert np.ptp(np.bincount(fold, minlength=folds)) <= 1
    for label in np.unique(labels):
        assert np.ptp(np.bincount(fold[labels == label], minlength=folds)) <= 1
    assert np.array_equal(fold, stratified_folds(labels, folds, seed))


def test_folds_depend_on_the_seed():
    labels = np.arange(100) % 3
    assert not np.array_equal(stratified_folds(labels, 5, 0), stratified_folds(labels, 5, 1))
