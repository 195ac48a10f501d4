import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipweave.data.group_splits import grouped_parts

SHARES = st.lists(st.integers(1, 5), min_size=1, max_size=5)


@st.composite
def grouped_labels(draw):
    """Labels, of one or several per image, and groups without gaps."""
    size = draw(st.integers(1, 60))
    groups = np.unique(draw(st.lists(st.integers(0, 15), min_size=size, max_size=size)), return_inverse=True)[1]
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    labels = rng.integers(0, 4, size)
    return (
        (np.eye(4, dtype=np.uint8)[labels] | rng.integers(0, 2, (size, 4), dtype=np.uint8), groups)
        if draw(st.booleans())
        else (labels, groups)
    )


@given(grouped_labels(), SHARES, st.integers(0, 5))
def test_every_group_is_in_one_part(grouped, shares, seed):
    labels, groups = grouped
    part = grouped_parts(labels, groups, shares, seed)
    assert part.shape == groups.shape
    assert set(part) <= set(range(len(shares)))
    for group in np.unique(groups):
        assert len(set(part[groups == group])) == 1
    assert np.array_equal(part, grouped_parts(labels, groups, shares, seed))


@given(grouped_labels(), SHARES, st.integers(0, 5))
def test_parts_differ_from_their_asked_size_by_less_than_the_largest_group(grouped, shares, seed):
    labels, groups = grouped
    sizes = np.bincount(grouped_parts(labels, groups, shares, seed), minlength=len(shares))
    excess = sizes * sum(shares) - np.array(shares) * len(labels)  # in units of 1 / sum(shares) images
    assert np.all(abs(excess) < np.bincount(groups).max() * sum(shares))


@given(st.integers(1, 60), SHARES, st.integers(0, 5), st.integers(1, 3))
def test_parts_of_single_images_of_one_class_have_their_exact_size(size, shares, seed, factor):
    labels, groups = np.zeros(size, dtype=np.int64), np.arange(size)
    part = grouped_parts(labels, groups, shares, seed)
    assert np.all(abs(np.bincount(part, minlength=len(shares)) - np.array(shares) * size / sum(shares)) < 1)
    assert np.array_equal(part, grouped_parts(labels, groups, [factor * share for share in shares], seed))


@pytest.mark.parametrize("seed", range(5))
def test_26_of_130_images_are_divided_to_within_a_small_group(seed):
    sizes = np.array([5, 6, 7, 8, 9, 10, 10, 11, 12, 12, 13, 13, 14])
    groups, kinds = np.repeat(np.arange(13), sizes), np.arange(13) % 3
    held = grouped_parts(kinds[groups], groups, [104, 26], seed) == 1
    assert abs(held.sum() - 26) <= 3


@pytest.mark.parametrize("folds", [2, 5])
def test_rare_labels_are_distributed_as_evenly_as_frequent_ones(folds):
    rng = np.random.default_rng(0)
    labels = (rng.random((400, 3)) < [0.5, 0.1, 0.05]).astype(np.uint8)
    part = grouped_parts(labels, np.arange(400), [1] * folds, 0)
    for column in labels.T:
        assert np.ptp([column[part == fold].sum() for fold in range(folds)]) <= 3


def test_patients_are_divided_by_class_and_number_of_images():
    rng = np.random.default_rng(0)
    groups = np.sort(rng.integers(0, 50, 1000))
    groups = np.unique(groups, return_inverse=True)[1]
    labels = (groups % 5 == 0).astype(np.int64)  # a fifth of the patients, all of whose images have the rare class
    held = grouped_parts(labels, groups, [8, 2], 0) == 1
    assert held.mean() == pytest.approx(0.2, abs=0.02)
    assert labels[held].mean() == pytest.approx(labels.mean(), abs=0.05)


def test_the_seed_chooses_the_groups():
    labels, groups = np.zeros(100, dtype=np.int64), np.arange(100)
    one, other = (grouped_parts(labels, groups, [1, 1], seed) for seed in (0, 1))
    assert not np.array_equal(one, other)
