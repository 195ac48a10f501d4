"""Channel patterns: fan-ins, balance, nesting, coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipweave.topology import ChannelPattern, channel_patterns
from skipweave_config.errors import SkipweaveError

widths = st.integers(1, 40)
seeds = st.integers(0, 2**31)
choices = st.sampled_from(["balanced", "uniform"])


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int, int]:
    inputs = draw(widths)
    return inputs, draw(widths), draw(st.integers(1, inputs))


@given(sizes(), choices, seeds)
def test_every_output_reads_fan_in_inputs(size: tuple[int, int, int], choice: channel_patterns.Choice, seed: int):
    pattern = channel_patterns.exact(*size, choice=choice, seed=seed)
    assert pattern.sources.shape == (size[1], size[2])
    assert (pattern.mask().sum(axis=1) == size[2]).all()
    assert pattern.mask().sum() == pattern.readers.sum() == size[1] * size[2]


@given(sizes(), choices, seeds, st.data())
def test_patterns_of_one_seed_nest(
    size: tuple[int, int, int], choice: channel_patterns.Choice, seed: int, data: st.DataObject
):
    inputs, outputs, fan_in = size
    fewer = channel_patterns.exact(inputs, outputs, data.draw(st.integers(1, fan_in)), choice=choice, seed=seed)
    more = channel_patterns.exact(*size, choice=choice, seed=seed)
    assert (more.mask() >= fewer.mask()).all()
    np.testing.assert_array_equal(
        channel_patterns.exact(*size, choice=choice, seed=seed, start=fewer).sources, more.sources
    )


@given(sizes(), choices, seeds, st.data())
def test_any_pattern_can_be_extended(
    size: tuple[int, int, int], choice: channel_patterns.Choice, seed: int, data: st.DataObject
):
    inputs, outputs, fan_in = size
    start = channel_patterns.exact(inputs, outputs, data.draw(st.integers(1, fan_in)), choice="uniform", seed=seed + 1)
    pattern = channel_patterns.exact(*size, choice=choice, seed=seed, start=start)
    assert pattern.fan_in == fan_in
    assert (pattern.mask() >= start.mask()).all()


@given(sizes(), seeds)
def test_a_balanced_choice_reads_every_input_it_can(size: tuple[int, int, int], seed: int):
    inputs, outputs, fan_in = size
    readers = channel_patterns.exact(*size, seed=seed).readers
    assert (readers > 0).sum() == min(inputs, outputs * fan_in)


@pytest.mark.parametrize(("inputs", "outputs", "fan_in"), [(64, 64, 1), (64, 256, 7), (256, 256, 26), (768, 192, 8)])
def test_a_balanced_choice_is_balanced(inputs: int, outputs: int, fan_in: int):
    readers = channel_patterns.exact(inputs, outputs, fan_in, seed=3).readers
    assert readers.max() - readers.min() <= 1
    uniform = channel_patterns.exact(inputs, outputs, fan_in, seed=3, choice="uniform").readers
    assert uniform.max() - uniform.min() > 1


def test_the_uniform_choice_is_uniform():
    counts = sum(channel_patterns.exact(5, 1, 2, choice="uniform", seed=seed).readers for seed in range(2000))
    assert abs(counts - 800).max() < 4 * np.sqrt(2000 * 0.4 * 0.6)  # 4 standard deviations


def test_random_patterns_never_change():
    balanced, uniform = (channel_patterns.exact(9, 3, 3, seed=5, choice=choice) for choice in ("balanced", "uniform"))
    assert balanced.sources.tolist() == [[0, 3, 5], [1, 6, 8], [2, 4, 7]]
    assert uniform.sources.tolist() == [[4, 7, 8], [2, 3, 7], [1, 5, 8]]
    assert channel_patterns.grouped(8, 4, 4, seed=5).sources.tolist() == [[3, 4, 5, 7], [0, 1, 2, 6]]


@given(sizes(), choices, seeds, st.data())
def test_blocks_share_and_nest(
    size: tuple[int, int, int], choice: channel_patterns.Choice, seed: int, data: st.DataObject
):
    inputs, outputs, fan_in = size
    pattern = channel_patterns.shared(*size, choice=choice, seed=seed)
    assert outputs % pattern.block == 0
    if outputs * fan_in >= inputs:
        assert len(pattern.sources) * fan_in >= inputs
    else:
        assert pattern.block == 1
    if choice == "balanced":
        assert (pattern.readers > 0).sum() == min(inputs, len(pattern.sources) * fan_in)
    more = channel_patterns.shared(
        inputs, outputs, data.draw(st.integers(fan_in, inputs)), block=pattern.block, choice=choice, seed=seed
    )
    assert (more.mask() >= pattern.mask()).all()


@given(sizes(), seeds)
def test_groups_part_the_inputs(size: tuple[int, int, int], seed: int):
    inputs, outputs, fan_in = size
    pattern = channel_patterns.grouped(*size, seed=seed)
    assert pattern.fan_in >= fan_in
    np.testing.assert_array_equal(np.sort(pattern.sources.ravel()), np.arange(inputs))
    if pattern.fan_in * 2 <= inputs and len(pattern.sources) % 2 == 0:
        wider = channel_patterns.grouped(inputs, outputs, pattern.fan_in * 2, seed=seed)
        assert len(pattern.sources) % len(wider.sources) or (wider.mask() >= pattern.mask()).all()


@given(st.integers(1, 2000), st.integers(1, 1000))
def test_the_fan_in_of_a_density_is_its_ceiling(inputs: int, thousandths: int):
    assert channel_patterns.fan_in_of(thousandths / 1000, inputs) == max(1, -(-thousandths * inputs // 1000))


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (lambda: channel_patterns.exact(4, 4, 5), ["fan_in is 5"]),
        (lambda: channel_patterns.exact(4, 0, 1, seed=-1), ["out_channels is 0", "seed is -1"]),
        (lambda: channel_patterns.exact(4, 4, 2.0), ["fan_in is 2.0"]),
        (lambda: channel_patterns.exact(4, 4, 2, choice="best"), ["choice is 'best'"]),
        (lambda: channel_patterns.exact(4, 4, 1, start=channel_patterns.exact(4, 4, 2)), ["start has 4 rows of 2"]),
        (lambda: channel_patterns.shared(64, 64, 7, block=16), ["block is 16"]),
        (lambda: channel_patterns.fan_in_of(0, 4), ["density is 0"]),
        (lambda: channel_patterns.draw("blocks", 4, 4, 2), ["pattern is 'blocks'"]),
        (lambda: channel_patterns.draw("exact", 4, 4, 2, block=2), ["pattern 'exact'"]),
        (lambda: ChannelPattern(4, 4, np.array([[0, 0]] * 4)), ["sources has the row [0, 0]"]),
        (lambda: ChannelPattern(4, 4, np.array([[0, 4]] * 4)), ["sources has the row [0, 4]"]),
        (lambda: ChannelPattern(4, 4, np.array([[0, 1]] * 3)), ["sources of shape (3, 2)"]),
    ],
)
def test_invalid_arguments_are_named(make, values: list[str]):
    with pytest.raises(SkipweaveError) as raised:
        make()
    assert len(raised.value.problems) == len(values)
    assert all(map(str.startswith, raised.value.problems, values))
