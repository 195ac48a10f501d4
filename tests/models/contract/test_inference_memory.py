"""Tensors alive during inference against those that are still to be read."""

import itertools
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import skipweave
from skipweave.analysis.memory import peak_inference_bytes
from skipweave.layers import SpanningStages, Stage
from skipweave.topology import SpanningPlan, Version

SIDE, GROWTH = 16, 4
NETWORKS = ["sparsenet40_24", "logdensenet_v1_12_16"]  # topologies inside the stages, and through all of them


def build(name: str, **overrides: object) -> nn.Module:
    return skipweave.create_model(name, growth=GROWTH, **overrides)


def peak(model: nn.Module) -> float:
    """Peak memory in maps of `GROWTH` channels at the resolution of the images, measured on torch's operators."""
    return peak_inference_bytes(model.to("meta"), torch.zeros(1, 3, SIDE, SIDE, device="meta")) / (4 * GROWTH * SIDE**2)


def planned(model: nn.Module) -> float:
    """The same computed from the topology: nodes still to be read, and temporaries of the running unit."""
    stages = model.stages
    maps = through_all(stages) if isinstance(stages, SpanningStages) else inside(stages)  # type: ignore[arg-type]
    return max(maps) / GROWTH


def in_unit(read: float, nodes: int, made: float) -> float:
    """The maximum of read: concatenated and activated; activated and convolved; or convolved and normalized."""
    return max(read * (1 + (nodes > 1)), read + made, 2 * made)


def through_all(stages: SpanningStages) -> Iterator[float]:
    plan = stages.plan

    def size(*versions: Version) -> float:
        return sum(stages.widths[version.node] / 4 ** plan.scale(version.stage) for version in versions)

    yield 2 * size(Version(0, 0))  # the stem's output and node 0
    alive = {Version(0, 0)}
    for steps in plan.steps:
        for step in steps:
            read, made = size(*step.reads), size(step.makes)
            carried = read + read + made  # activated, convolved and pooled
            yield size(*alive) + (carried if step.is_carry else in_unit(read, len(step.reads), made))
            alive |= {step.makes}
            if step.makes == (plan.ends[-1], len(stages) - 1):
                yield size(*alive) + 2 * size(step.makes, *step.reads)  # concatenated and activated
            alive -= set(step.frees)


def inside(stages: nn.Sequential) -> Iterator[float]:
    """Stage by stage; a stage's input is alive during the call of the stage."""
    given, pixels = 2.0 * GROWTH, 1.0
    for index, stage in enumerate(stages):
        assert isinstance(stage, Stage)
        graph, widths = stage.topology, stage.widths
        yield given + (2 * given if index else widths[0])  # a transition activates and convolves, then pools
        pixels = pixels / 4 if index else pixels
        for node in range(1, graph.units + 1):
            alive = sum(width for n, width in enumerate(widths[:node]) if graph.last_readers[n] >= node)
            read = [widths[source] for source in graph.sources(node)]
            yield given + pixels * (alive + in_unit(sum(read), len(read), widths[node]))
        collected = pixels * stage.out_width
        yield given + collected * (1 + (len(graph.output) > 1))
        given = collected
    yield 2 * given  # the last map, activated


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_peak_depends_on_the_in_degree_and_not_on_the_depth(name: str, bottleneck: bool) -> None:
    def of(size: int, units: int) -> float:
        return peak(build(name, units=units, topology=f"window(size={size})", bottleneck=bottleneck))

    peaks = {size: of(size, units=8) for size in (4, 6, 8)}
    assert peaks == {size: of(size, units=16) for size in (4, 6, 8)}
    # Two more nodes are two that are alive and two that are activated; they are concatenated before, which is the peak
    # of a basic unit, and of a bottleneck unit with many sources.
    assert all(4 <= rise <= 6 for rise in (peaks[6] - peaks[4], peaks[8] - peaks[6]))


@pytest.mark.parametrize("units", [3, 8])
@pytest.mark.parametrize("topology", ["plain", "window(size=3)", "exponential", "nearest_half", "dense"])
@pytest.mark.parametrize("name", NETWORKS)
def test_peak_is_nodes_to_be_read_and_temporaries_of_one_unit(name: str, topology: str, units: int) -> None:
    model = build(name, units=units, topology=topology)
    assert peak(model) == planned(model)


def test_peak_of_patterns() -> None:
    """Distances of the exponential pattern grow, so the number of nodes alive is proportional to the depth."""

    def growth(topology: str, name: str) -> list[float]:
        peaks = [peak(build(name, units=units, topology=topology)) for units in (8, 16, 32)]
        return [deeper - before for before, deeper in itertools.pairwise(peaks)]

    assert growth("dense", NETWORKS[0]) == [24, 48]  # every node is alive, concatenated and activated
    assert growth("exponential", NETWORKS[0]) == [
        4,
        8,
    ]  # half of all nodes are alive, few are concatenated and activated
    assert growth("harmonic", NETWORKS[0]) == [3, 3]  # log n nodes are alive
    assert growth("exponential", NETWORKS[1]) == [10, 18]
    assert growth("harmonic", NETWORKS[1]) == [3, 3]


def alive_before_each_step(plan: SpanningPlan) -> list[set[Version]]:
    seen, alive = [], {Version(0, 0)}
    for steps in plan.steps:
        for step in steps:
            seen.append(set(alive))
            alive = (alive | {step.makes}) - set(step.frees)
    return seen


@pytest.mark.parametrize(
    "run", [lambda model, x: model(x), lambda model, x: [None for _ in model.forward_anytime(x)]], ids=["last", "exits"]
)
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("logdensenet_v1_12_16", dict(units=4, heads="stages")),
        ("logdensenet169_v1", dict(units=(1, 2, 1, 2), heads="stages")),
        ("fc_logdensenet103", dict(units=(1, 2, 3, 2, 1))),
        ("fc_logdensenet103", dict(units=(1, 2, 3, 2, 1), reuse_down=False, prune="birth")),
    ],
)
def test_nodes_are_freed_exactly_as_planned(
    name: str, overrides: dict[str, object], run: Callable[[nn.Module, Tensor], object]
) -> None:
    """Callers hold no references either: neither the stem's output nor the nodes of an exit."""
    model = build(name, **overrides).eval()
    stages = model.stages
    assert isinstance(stages, SpanningStages)
    steps = [step for steps in stages.plan.steps for step in steps]
    made: dict[str | Version, weakref.ref[Tensor]] = {}
    found: list[set[str | Version]] = []

    def watch(module: nn.Module, version: str | Version) -> None:
        module.register_forward_hook(lambda module, given, out: made.update({version: weakref.ref(out)}))

    watch(model.stem, "stem")
    watch(stages.entry, Version(0, 0))
    for step in steps:
        key = f"{step.makes.node}_to_{step.makes.stage}"
        module = stages.carries[key] if step.is_carry else stages.units[step.makes.node - 1]
        module.register_forward_pre_hook(
            lambda *_: found.append({key for key, ref in made.items() if ref() is not None})
        )
        watch(module, step.makes)
    with torch.inference_mode():
        run(model, torch.zeros(1, 3, 32, 32))
    assert found == alive_before_each_step(stages.plan)


def test_fc_densenet_frees_a_block_after_upsampling_its_new_maps() -> None:
    model = build("fc_densenet103", units=(1, 2, 2, 2, 1)).eval()
    made: list[weakref.ref[Tensor]] = []
    left: list[int] = []
    for unit in model.blocks[3].units:
        unit.register_forward_hook(lambda module, given, out: made.append(weakref.ref(out)))
    model.blocks[4].register_forward_pre_hook(lambda *_: left.append(sum(ref() is not None for ref in made)))
    with torch.inference_mode():
        model(torch.zeros(1, 3, SIDE, SIDE))
    assert (len(made), left) == (2, [0])
