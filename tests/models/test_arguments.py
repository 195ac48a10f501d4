"""Validation of the arguments of networks."""

import pytest

import skipweave
from skipweave.models.arguments import Arguments, Resolution, units_of_depth
from skipweave_config.errors import SkipweaveError
from tests.errors import assert_each_reports, assert_reports


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
