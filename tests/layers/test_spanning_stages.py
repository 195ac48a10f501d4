"""`SpanningStages` against a recursive definition: every version of a node is computed from those it reads."""

import pytest
import torch
from torch import Tensor, nn

from skipweave import topology
from skipweave.layers import Concat, SpanningStages, basic_body, carry_down
from skipweave.topology import SpanningPlan, Version


def make(name: str) -> SpanningStages:
    torch.manual_seed(0)
    plan = SpanningPlan(topology.make(name, 6), (2, 2, 2))
    widths = [4] + [3] * 6
    return SpanningStages(
        plan, Concat(), nn.Identity(), widths, basic_body, lambda width, _: carry_down(width)
    ).double()


def defined(stages: SpanningStages, x: Tensor) -> dict[Version, Tensor]:
    """All versions, none of which is freed."""
    plan, made = stages.plan, {Version(0, 0): x}
    for stage, first in enumerate((1, 3, 5)):
        for node in plan.carried(stage):
            made[Version(node, stage)] = stages.carries[f"{node}_to_{stage}"](made[Version(node, stage - 1)])
        for node in (first, first + 1):
            sources = [made[plan.version(source, stage)] for source in plan.topology.sources(node)]
            made[Version(node, stage)] = stages.units[node - 1](*sources)
    return made


@pytest.mark.parametrize("name", topology.names())
def test_exits_yield_a_node_and_its_sources(name: str) -> None:
    stages = make(name).eval()
    x = torch.randn(2, 4, 9, 7, dtype=torch.float64)
    made, plan = defined(stages, x), stages.plan
    stops = (1, 4, 6)
    for stop, nodes in zip(stops, stages.run(x, stops), strict=True):
        stage = plan.births[stop]
        expected = [made[plan.version(node, stage)] for node in plan.topology.node_and_sources(stop)]
        torch.testing.assert_close(list(nodes), expected, rtol=0, atol=0)
        assert stages.exit_widths(stop) == tuple(node.shape[1] for node in nodes)


def test_nothing_after_a_stop_runs() -> None:
    stages, ran = make("exponential"), []
    for number, unit in enumerate(stages.units, start=1):
        unit.register_forward_hook(lambda *_, number=number: ran.append(number))
    next(stages.run(torch.zeros(1, 4, 8, 8, dtype=torch.float64), (3,)))
    assert ran == [1, 2, 3]
