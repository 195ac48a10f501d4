import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from skipweave.data.seeding import mix_seed, permutation


def test_seeds_never_change():
    assert mix_seed(0) == 8147104208329303767
    assert mix_seed(1, 2, 3) == 7510213797696614745
    assert permutation(8, 0, 1).tolist() == [6, 0, 3, 7, 4, 2, 1, 5]


@given(st.lists(st.integers(-(2**70), 2**70), max_size=4))
def test_a_seed_fits_63_bits(values):
    assert 0 <= mix_seed(*values) < 2**63


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=3), st.lists(st.integers(0, 1000), min_size=1, max_size=3))
def test_different_values_give_different_seeds(one, other):
    assert (mix_seed(*one) == mix_seed(*other)) == (one == other)


@given(st.integers(0, 500), st.integers(0, 2**63), st.integers(0, 1000))
def test_a_permutation_holds_every_index_once(size, seed, epoch):
    assert np.array_equal(np.sort(permutation(size, seed, epoch)), np.arange(size))


def test_permutations_differ_by_seed():
    assert len({tuple(permutation(50, 0, epoch)) for epoch in range(20)}) == 20


def test_every_index_is_as_likely_in_every_place():
    places = np.array([permutation(5, 7, epoch) for epoch in range(4000)])
    counts = np.array([np.bincount(places[:, place], minlength=5) for place in range(5)])
    assert abs(counts / 4000 - 0.2).max() < 0.03
