import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipweave.data.group_splits import grouped_parts

FRACTIONS = st.lists(st.integers(1, 5), min_size=1, max_size=5).map(lambda parts: [p / sum(parts) for p in parts])


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


@given(grouped_labels(), FRACTIONS, st.integers(0, 5))
def test_every_group_is_in_one_part(grouped, fractions, seed):
    labels, groups = grouped
    part = grouped_parts(labels, groups, fractions, seed)
    assert part.shape == groups.shape
    assert set(part) <= set(range(len(fractions)))
    for group in np.unique(groups):
        assert len(set(part[groups == group])) == 1
    assert np.array_equal(part, grouped_parts(labels, groups, fractions, seed))


@given(st.integers(1, 60), FRACTIONS, st.integers(0, 5))
def test_parts_of_single_images_of_one_class_have_their_exact_size(size, fractions, seed):
    part = grouped_parts(np.zeros(size, dtype=np.int64), np.arange(size), fractions, seed)
    assert np.all(abs(np.bincount(part, minlength=len(fractions)) - np.array(fractions) * size) < len(fractions))


@pytest.mark.parametrize("folds", [2, 5])
def test_rare_labels_are_distributed_as_evenly_as_frequent_ones(folds):
    rng = np.random.default_rng(0)
    labels = (rng.random((400, 3)) < [0.5, 0.1, 0.05]).astype(np.uint8)
    part = grouped_parts(labels, np.arange(400), [1 / folds] * folds, 0)
    for column in labels.T:
        assert np.ptp([column[part == fold].sum() for fold in range(folds)]) <= 3


def test_patients_are_divided_by_class_and_number_of_images():
    rng = np.random.default_rng(0)
    groups = np.sort(rng.integers(0, 50, 1000))
    groups = np.unique(groups, return_inverse=True)[1]
    labels = (groups % 5 == 0).astype(np.int64)  # a fifth of the patients, all of whose images have the rare class
    held = grouped_parts(labels, groups, [0.8, 0.2], 0) == 1
    assert held.mean() == pytest.approx(0.2, abs=0.02)
    assert labels[held].mean() == pytest.approx(labels.mean(), abs=0.05)


def test_the_seed_chooses_the_groups():
    labels, groups = np.zeros(100, dtype=np.int64), np.arange(100)
    one, other = (grouped_parts(labels, groups, [0.5, 0.5], seed) for seed in (0, 1))
    assert not np.array_equal(one, other)
