"""Plans over several resolutions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipweave import topology
from skipweave.topology import Prune, SpanningPlan, Topology, Version
from skipweave_config.errors import SkipweaveError
from tests.errors import assert_reports, raises

lengths = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)


def simulate(plan: SpanningPlan) -> int:
    """Follow the steps: every read must exist, every version be made once. Return the most that lived at once."""
    alive, seen, most = {Version(0, 0)}, {Version(0, 0)}, 0
    for stage, steps in enumerate(plan.steps):
        for step in steps:
            assert set(step.reads) <= alive
            scales = {plan.scale(version.stage) for version in step.reads}
            assert scales == {plan.scale(stage - 1 if step.is_carry else stage)}
            assert step.makes not in seen
            alive.add(step.makes)
            seen.add(step.makes)
            most = max(most, len(alive))
            alive -= set(step.frees)
    assert not alive
    return most


@given(st.sampled_from(topology.names()), lengths, st.sampled_from(["exact", "birth", "none"]))
def test_every_plan_can_be_followed(name: str, units: tuple[int, ...], prune: Prune) -> None:
    plan = SpanningPlan(topology.make(name, sum(units)), units, prune=prune)
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
    plan = SpanningPlan(topology.plain(6), (2, 2, 2), prune="none")
    assert plan.carried(1) == (2, 1, 0)
    assert plan.carried(2) == (4, 3, 2, 1, 0)


def test_live_nodes_depend_on_the_pattern_and_not_on_the_depth() -> None:
    """A window frees its nodes however deep the network; the exponential pattern keeps more than half for later."""
    assert [simulate(SpanningPlan(topology.window(3 * n, size=4), (n, n, n))) for n in (12, 52, 152)] == [5, 5, 5]
    for n in (12, 52, 152):
        assert simulate(SpanningPlan(topology.exponential(3 * n), (n, n, n))) <= 0.7 * 3 * n


def test_worked_example() -> None:
    plan = SpanningPlan(topology.exponential(6), (3, 3))
    assert plan.births == (0, 0, 0, 0, 1, 1, 1)
    assert plan.carried(1) == (3, 2, 1, 0)
    assert plan.ends == (3, 6)
    assert plan.steps[0][-1].reads == (Version(2, 0), Version(1, 0))
    assert plan.steps[1][-1].reads == (Version(5, 1), Version(4, 1), Version(2, 1))


def test_units_must_add_up() -> None:
    with raises(5, [2, 2]):
        SpanningPlan(Topology(topology.dense(5).reads), (2, 2))


U = (4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4)
DOWN_AND_UP = (0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0)


@pytest.mark.parametrize(
    ("reuse", "prune", "down", "up"),
    [(True, "exact", 91, 145), (True, "none", 98, 269), (False, "birth", 98, 243), (False, "exact", 98, 217)],
)
def test_readings_of_fc_log_densenet(reuse: bool, prune: Prune, down: int, up: int) -> None:
    reads = [{*topology.exponential(91).sources(i), *([4] if i > 4 else [])} for i in range(1, 93)]
    plan = SpanningPlan(Topology.from_lists(reads), U, DOWN_AND_UP, prune, reuse)
    assert sum(len(plan.carried(stage)) for stage in range(6)) == down
    assert sum(len(plan.carried(stage)) for stage in range(6, 11)) == up
    simulate(plan)


@given(st.sampled_from(topology.names()), st.integers(1, 4), st.booleans(), st.sampled_from(["exact", "birth", "none"]))
def test_plans_down_and_up_can_be_followed(name: str, n: int, reuse: bool, prune: Prune) -> None:
    simulate(SpanningPlan(topology.make(name, 5 * n), (n,) * 5, (0, 1, 2, 1, 0), prune, reuse))


@pytest.mark.parametrize("scales", [(0,), (0, 2), (1, 1), (0, -1)])
def test_scales_must_be_neighbors(scales: tuple[int, ...]) -> None:
    with pytest.raises(SkipweaveError) as raised:
        SpanningPlan(topology.dense(4), (2, 2), scales)
    assert_reports(str(raised.value), "scales", list(scales))
