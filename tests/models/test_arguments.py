"""Validation of the arguments of networks."""

import inspect
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

import skipweave
from skipweave import models, topology
from skipweave.analysis.profile import topologies_of
from skipweave.models.arguments import Arguments, Resolution, units_of_depth
from skipweave.topology import Topology
from skipweave_config.errors import SkipweaveError
from tests.errors import assert_each_reports, assert_reports, raises

#: A small model of each family, by the name of its class.
FAMILIES = {
    "CifarResNet": "resnet110",
    "DelugeNet": "delugenet146",
    "FCDenseNet": "fc_densenet56",
    "FCLogDenseNet": "fc_logdensenet103",
    "FastSparseNet": "sparsenet_fast_64",
    "FractalNet": "fractalnet20",
    "HarDNet": "hardnet68",
    "LogDenseNetV1": "loglogdensenet_12_32",
    "LogDenseNetV2": "logdensenet_v2_12_16",
    "PlainNet": "tutorial_mnist",
    "SeqResNet": "seqresnet_k8_r4_n1",
    "SparseNet": "sparsenet40_12",
    "SparseSumNet": "sparsenet_sum56",
}
#: Each is of the wrong type for most arguments.
VALUES = (None, "nope", "", b"x", 2.5, float("nan"), True, 0, -1, 1j, {}, {"a": 1}, {1}, object(), ())
LISTS = ([1], [[1]], ["x"], [None], [True] * 3, [2.5] * 3, [[0], [1], [2], 3], [1, 2, 3], ["dense", 3, "plain"])


def problems(**overrides: object) -> tuple[str, ...]:
    with pytest.raises(SkipweaveError) as raised:
        skipweave.create_model("sparsenet40_24", **overrides)
    return raised.value.problems


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (dict(growth=(4, 8)), [("growth", (4, 8))]),
        (dict(units=0), [("units", 0)]),
        (dict(units=(1000, 1000, 49)), [("units", (1000, 1000, 49))]),
        (dict(topology="exponentail"), [("topology", "'exponentail'", "'exponential'")]),
        (dict(topology=["dense", "foo", "plain"]), [("stage 1", "topology", "'foo'")]),
        (dict(topology=["bar", "foo", "bar"]), [("stage 0, 2", "'bar'"), ("stage 1", "'foo'")]),
        (dict(topology=["dense", "plain"]), [("topology", 2)]),
        (dict(topology=3), [("topology", 3)]),
        (dict(depth=41), [("depth", 41)]),
        (dict(compression=1.5), [("compression", 1.5)]),
        (dict(drop_rate=1.0), [("drop_rate", 1.0)]),
        (dict(output_stride=8), [("output_stride", 8)]),
        (dict(stem="imagnet"), [("stem", "'imagnet'")]),
        (dict(growth=-1, compression=0), [("growth", -1), ("compression", 0)]),
        (dict(num_classes=-1, in_chans=0), [("num_classes", -1), ("in_chans", 0)]),
    ],
)
def test_all_invalid_arguments_are_named(overrides: dict[str, object], named: list[tuple[object, ...]]) -> None:
    assert_each_reports(problems(**overrides), *named)


@pytest.mark.parametrize("heads", ["first", 3, (), (0, 2), (3, 2), (2, 2), (36,), (1.5,)])
def test_invalid_heads_are_named(heads: object) -> None:
    (problem,) = problems(heads=heads)
    assert_reports(problem, "heads", repr(heads))


@pytest.mark.parametrize(("depth", "near"), [(41, ("40", "43")), (3, ("7", "10"))])
def test_closest_depths_are_suggested(depth: int, near: tuple[str, str]) -> None:
    with pytest.raises(SkipweaveError) as raised:
        units_of_depth(depth, layers_per_unit=1, other_layers=4, stages=3)
    assert all(value in str(raised.value) for value in near)


def test_output_stride_turns_strides_into_dilation() -> None:
    assert Arguments().resolutions(8, (4, 8, 16, 32)) == (
        Resolution(4, 1, False),
        Resolution(8, 1, True),
        Resolution(8, 2, False),
        Resolution(8, 4, False),
    )
    assert [stage.stride for stage in Arguments().resolutions(None, (1, 2, 4))] == [1, 2, 4]


def test_invalid_arguments_give_placeholders_until_done() -> None:
    check = Arguments()
    assert check.per_stage("growth", "wide", stages=2) == (1, 1)
    assert check.exits("first", (2, 2)) == ()
    assert check.stem("none").stages == 3
    with pytest.raises(SkipweaveError) as raised:
        check.done()
    assert len(raised.value.problems) == 3


def test_every_family_has_its_small_model() -> None:
    assert {name for name in models.__all__ if isinstance(getattr(models, name), type)} == set(FAMILIES)


def _problems(network: str | type[nn.Module], argument: str) -> Iterator[str]:
    """The errors of a family, by the name of its small model or by its class, for all values of an argument."""
    for value in (*VALUES, *LISTS, "loglog(hubs=3)"):
        try:
            with torch.device("meta"):
                if isinstance(network, str):
                    skipweave.create_model(network, **{argument: value})
                else:
                    network(**{**models.arguments_of(FAMILIES[network.__name__]), argument: value})
        except SkipweaveError as error:
            yield str(error)


@pytest.mark.parametrize("direct", [False, True], ids=["by name", "by class"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_value_of_the_wrong_type_is_named_with_its_argument(family: str, direct: bool) -> None:
    network, name = getattr(models, family), FAMILIES[family]
    arguments = list(inspect.signature(network).parameters)
    problems = {argument: list(_problems(network if direct else name, argument)) for argument in arguments}
    assert all(problems.values())
    unnamed = [(key, problem) for key, found in problems.items() for problem in found if key not in problem]
    # One width makes a network of one stage, of which the registered arguments have more.
    assert all(family == "HarDNet" and key == "widths" for key, _ in unnamed)


@pytest.mark.parametrize("arguments", [dict(features_only=2), dict(out_indices=[0]), dict(feature_cls="list")])
def test_arguments_of_feature_maps_are_checked(arguments: dict[str, object]) -> None:
    with raises("features_only", *arguments):
        skipweave.create_model("sparsenet40_12", **arguments)


@pytest.mark.parametrize("indices", [4, -4, 0, [3], [0, 1.0], [True], "x", [], {}, 2.5])
@pytest.mark.parametrize("name", ["sparsenet40_12", "loglogdensenet_12_32"])
def test_invalid_indices_of_feature_maps_are_named(name: str, indices: object) -> None:
    with raises("out_indices", repr(indices)):
        skipweave.create_model(name, features_only=True, out_indices=indices)


@pytest.mark.parametrize("indices", [1, 3, [0], (0, 2), [-1], {0, 1}, np.array([0, 2])])
def test_feature_maps_are_selected(indices: object) -> None:
    network = skipweave.create_model("sparsenet40_12", features_only=True, out_indices=indices, units=1, growth=2)
    assert len(network(torch.zeros(1, 3, 8, 8))) == (indices if isinstance(indices, int) else len(indices))


@pytest.mark.parametrize("pool", ["fast", "fastavg", "fastmax", "fastavgmax", "fastcatavgmax"])
def test_all_poolings_of_timm(pool: str) -> None:
    network = skipweave.create_model("sparsenet40_12", units=1, growth=2, global_pool=pool)
    assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 10)


#: The depth of three units per stage.
DEPTHS = [("sparsenet40_12", 13), ("densenet_bc100_12", 22), ("sparsenet121_32", 29), ("sparsenet_sum56", 29)]


@pytest.mark.parametrize(("name", "depth"), DEPTHS)
def test_depth_stands_for_units(name: str, depth: int) -> None:
    count = 4 if name == "sparsenet121_32" else 3
    for units in (None, 3, (3,) * count):
        with torch.device("meta"):
            network = skipweave.create_model(name, depth=depth, units=units)
        assert [graph.units for graph in topologies_of(network)] == [3] * count


@pytest.mark.parametrize(("name", "depth"), DEPTHS)
@pytest.mark.parametrize("units", [2, (3, 3, 2), [4] * 4, "x"])
def test_units_that_differ_from_depth_are_named(name: str, depth: int, units: object) -> None:
    with raises("depth", depth, "units", repr(units)):
        skipweave.create_model(name, depth=depth, units=units)


def test_no_depth_keeps_the_units() -> None:
    assert len(skipweave.create_model("densenet100_12", depth=None).stages[0].units) == 32


PATTERNS = [*topology.names(), "exponential(base=3)", "window(size=2)", "loglog(min_inputs=3, hubs=[2, 5])"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_name_of_a_topology_rebuilds_it(family: str) -> None:
    """In the network that printed it; names of patterns that a family changes are not accepted."""
    network = getattr(models, family)
    if "topology" not in inspect.signature(network).parameters:
        return
    for pattern in PATTERNS:
        try:
            made = small(network, pattern)
        except SkipweaveError:  # heads would not read all nodes
            assert pattern == "fractal"
            continue
        for graph in made:
            try:
                rebuilt = small(network, graph.name)
            except SkipweaveError as error:
                assert " and " in graph.name
                assert_reports(str(error), "topology", repr(graph.name))
            else:
                assert rebuilt == made


def small(network: type[nn.Module], pattern: str) -> tuple[Topology, ...]:
    """Topologies of a small network."""
    with torch.device("meta"):
        return topologies_of(network(topology=pattern, units=(6,) * 5 if network.__name__.startswith("FC") else 6))
