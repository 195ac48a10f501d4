"""Log-DenseNets: links, widths and transitions of V1, V2 and LogLog."""

import pytest
import torch

import skipweave
from skipweave import topology
from skipweave.analysis.operation_counts import CONVENTIONS, count
from skipweave.models import LogDenseNetV1, LogDenseNetV2
from tests.errors import raises


def test_v1_carries_exactly_the_nodes_that_later_stages_read() -> None:
    model = LogDenseNetV1(units=4, growth=3)
    plan, graph = model.stages.plan, topology.exponential(12)
    for stage, first in ((1, 5), (2, 9)):
        later = {source for node in range(first, 13) for source in graph.sources(node) if source < first}
        assert set(plan.carried(stage)) == later
    assert len(model.stages.carries) == len(plan.carried(1)) + len(plan.carried(2))


def test_v1_heads_read_the_last_node_and_its_sources() -> None:
    model = LogDenseNetV1(units=4, growth=3, stem_width=5, heads="stages")
    widths, graph = [5] + [3] * 12, topology.exponential(12)
    for end, read in zip((4, 8, 12), (*(early.read for early in model.exits), model.norm), strict=True):
        assert read.widths == tuple(widths[node] for node in (end, *graph.sources(end)))
    assert model.num_features == sum(model.norm.widths)


def test_the_last_head_reads_what_a_fractal_ends_with() -> None:
    with torch.device("meta"):
        assert LogDenseNetV1(units=12, topology="fractal").stages.plan.as_read.unread == ()
    with raises("'fractal'", [2]):
        LogDenseNetV1(units=1, topology="fractal")
    with torch.device("meta"):
        assert LogDenseNetV2(units=(3, 3, 4), topology="fractal").stages[-1].topology.unread == ()
    with raises("stage 2", "'fractal'", [2]):
        LogDenseNetV2(units=(4, 4, 3), topology="fractal")


def test_hubs_of_loglog_are_wider() -> None:
    model = LogDenseNetV1(units=4, growth=3, topology="loglog", hub_multiplier=2)
    hubs = set(topology.loglog_hubs(12, (4, 8, 12)))
    assert model.stages.widths[1:] == tuple(3 * (1 + (node in hubs)) for node in range(1, 13))
    assert model.stages.plan.topology == topology.loglog(12, min_inputs=4, hubs=(4, 8, 12))
    assert model.stages.plan.topology.name == "loglog(min_inputs=4, hubs=[4, 8, 12])"


def test_v2_compresses_new_nodes_and_reads_all_compressed_features() -> None:
    model = LogDenseNetV2(units=8, growth=3, stem_width=5)
    kept = 3 * 5  # growth x (floor(log2(24 + 1)) + 1)
    assert [stage.widths[0] for stage in model.stages] == [5, 5 + kept, 5 + 2 * kept]
    for stage in model.stages:
        graph = stage.topology
        assert all(0 in graph.sources(node) for node in range(1, 9))
        assert graph.sources(8) == (7, 6, 4, 0)
    assert model.stages[0].topology.output == tuple(range(8, -1, -1))
    assert model.stages[2].topology.output == (8, 7, 6, 4, 0)


def test_units_of_v2_read_the_pattern_of_their_stage_and_all_compressed_features() -> None:
    model = LogDenseNetV2(units=8, growth=3, topology=["exponential", "nearest", "every_other"])
    near, every_other = topology.nearest(8), topology.every_other(8)
    for stage, pattern in zip(model.stages[1:], (near, every_other), strict=True):
        reads = [{0, *pattern.sources(node)} for node in range(1, 9)]
        assert [set(stage.topology.sources(node)) for node in range(1, 9)] == reads
    assert model.stages[1].topology.output == tuple(range(8, -1, -1))
    assert set(model.stages[2].topology.output) == {8, 0, *every_other.sources(8)}


def test_v2_takes_a_topology_of_its_own_as_it_is() -> None:
    graph = topology.Topology.from_lists([[0], [1], [1, 2], [1, 3]])
    model = LogDenseNetV2(units=3, growth=2, topology=graph)
    assert [stage.topology.reads[:3] for stage in model.stages] == [graph.reads[:3]] * 3
    assert [stage.topology.output for stage in model.stages] == [(3, 2, 1, 0), (3, 2, 1, 0), (3, 1)]
    assert model.num_features == 4


# Table 1, LD2: operations in G by units per stage and growth; 5.62 is printed as 5.92, which breaks the scaling by g^2.
PRINTED = {(12, 16): 0.46, (12, 24): 1.03, (12, 32): 1.82, (32, 16): 1.41, (32, 24): 3.16, (32, 32): 5.62}
PRINTED |= {(52, 16): 2.39, (52, 24): 5.35, (52, 32): 9.51}


@pytest.mark.parametrize(("units", "growth"), PRINTED)
def test_a_fit_that_contradicts_the_text_has_the_printed_operations_of_v2(units: int, growth: int) -> None:
    """A stem of g channels (the text: 2g), floor(log2 n) g channels kept, floor(log2 t) links of a stage's unit t."""
    reads = [[0, *(t - 2**k for k in range(t.bit_length() - 1))] for t in range(1, units + 1)]
    inner, last = [*reads, list(range(units + 1))], [*reads, sorted({units, *reads[-1]})]
    kept = growth * (units.bit_length() - 1)
    with torch.device("meta"):
        model = LogDenseNetV2(
            units=units, growth=growth, topology=[inner, inner, last], stem_width=growth, compressed_width=kept
        )
        operations = CONVENTIONS["log_densenet"](count(model, torch.empty(1, 3, 32, 32)))
    assert -0.012 < operations / 1e9 / PRINTED[units, growth] - 1 < -0.0015


@pytest.mark.parametrize("name", ["logdensenet_v1_12_16", "loglogdensenet_12_32", "logdensenet_v2_12_16"])
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = skipweave.create_model(name, units=2, growth=4, heads="stages")
    sum(logits.sum() for logits in model.forward_anytime(torch.randn(2, 3, 16, 16))).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (dict(hub_multiplier=3), ("hub_multiplier", 3)),
        (dict(min_inputs=3), ("min_inputs", 3, "'exponential'")),
        (dict(topology="loglog(min_inputs=4)", min_inputs=3), ("min_inputs", 3, "'loglog(min_inputs=4)'")),
        (dict(topology="loglog()", hub_multiplier=3), ("hub_multiplier", 3, "'loglog()'")),
        (dict(prune="birth"), ("prune", "'birth'")),
        (dict(min_inputs=0), ("min_inputs", 0)),
    ],
)
def test_invalid_arguments_are_named(overrides: dict[str, object], named: tuple[object, ...]) -> None:
    with raises(*named):
        skipweave.create_model("logdensenet_v1_12_16", **overrides)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (dict(compressed_width=0), ("compressed_width", 0)),
        (dict(topology="nearst"), ("'nearst'", "'nearest'")),
    ],
)
def test_invalid_arguments_of_v2_are_named(overrides: dict[str, object], named: tuple[object, ...]) -> None:
    with raises(*named):
        skipweave.create_model("logdensenet_v2_12_16", **overrides)
