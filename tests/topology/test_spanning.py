"""Plans over several resolutions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipweave import topology
from skipweave.errors import SkipweaveError
from skipweave.topology import SpanningPlan, Topology, Version

lengths = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)


def simulate(plan: SpanningPlan) -> int:
    """Follow the steps: every read must exist, every version be made once. Return the most that lived at once."""
    alive, seen, most = {Version(0, 0)}, {Version(0, 0)}, 0
    for stage, steps in enumerate(plan.steps):
        for step in steps:
            assert set(step.reads) <= alive
            assert len({version.stage for version in step.reads}) == 1
            assert step.makes not in seen
            alive.add(step.makes)
            seen.add(step.makes)
            most = max(most, len(alive))
            alive -= set(step.spent)
        assert set(plan.exit(stage)) <= alive
        alive -= set(plan.spent_at_exit(stage))
    assert not alive
    return most


@given(st.sampled_from(topology.names()), lengths, st.booleans())
def test_every_plan_can_be_followed(name: str, units: tuple[int, ...], prune: bool) -> None:
    plan = SpanningPlan(topology.make(name, sum(units)), units, prune)
    simulate(plan)
    made = [step.makes.node for steps in plan.steps for step in steps if not step.is_carry]
    assert made == list(range(1, sum(units) + 1))


@given(st.sampled_from(topology.names()), lengths)
def test_a_node_is_carried_exactly_as_far_as_it_is_read(name: str, units: tuple[int, ...]) -> None:
    plan = SpanningPlan(topology.make(name, sum(units)), units)
    for node, last in enumerate(plan.topology.last_readers):
        reached = max([stage for stage in range(len(units)) if node in plan.carried(stage)], default=plan.births[node])
        reader = min(last, sum(units))  # the virtual node carries nothing
        readers = [i for i in range(1, reader + 1) if node in plan.topology.sources(i)]
        assert reached == (plan.births[max(readers)] if readers else plan.births[node])


def test_without_pruning_everything_goes_to_the_end() -> None:
    plan = SpanningPlan(topology.plain(6), (2, 2, 2), prune=False)
    assert plan.carried(1) == (2, 1, 0)
    assert plan.carried(2) == (4, 3, 2, 1, 0)


def test_what_lives_follows_the_pattern_not_the_depth() -> None:
    """A window frees its nodes however deep the network; the exponential pattern keeps more than half for later."""
    assert [simulate(SpanningPlan(topology.window(3 * n, size=4), (n, n, n))) for n in (12, 52, 152)] == [5, 5, 5]
    for n in (12, 52, 152):
        assert simulate(SpanningPlan(topology.exponential(3 * n), (n, n, n))) <= 0.7 * 3 * n


def test_worked_example() -> None:
    plan = SpanningPlan(topology.exponential(6), (3, 3))
    assert plan.births == (0, 0, 0, 0, 1, 1, 1)
    assert plan.carried(1) == (3, 2, 1, 0)
    assert plan.exit(0) == (Version(3, 0), Version(2, 0), Version(1, 0))
    assert plan.exit(1) == (Version(6, 1), Version(5, 1), Version(4, 1), Version(2, 1))


def test_units_must_add_up() -> None:
    with pytest.raises(SkipweaveError, match=r"has 5 units where the stages \[2, 2\] have 4"):
        SpanningPlan(Topology(topology.dense(5).reads), (2, 2))
