"""Values become typed fields, or every mistake is reported."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from skipweave_config.errors import SkipweaveError
from skipweave_config.fields import (
    Count,
    FilePath,
    Flag,
    Integer,
    MemorySize,
    Number,
    PlainValues,
    Text,
)
from skipweave_config.validation import Config, shown, validate, validate_json
from tests.errors import assert_each_reports, assert_reports


class Part(Config):
    """A nested config."""

    size: Annotated[Integer, Field(ge=1)] = 1
    name: Text = "a"


class Whole(Config):
    """Fields of all kinds."""

    title: Text
    parts: list[Part] = field(default_factory=list)
    part: Part = field(default_factory=Part)
    rate: Number = 0.5
    amount: Integer | Number = 0.1
    where: FilePath | None = None
    falls: tuple[Number, ...] = ()
    which: Literal["best", "last"] = "best"
    args: PlainValues = field(default_factory=dict)


def problems(kind: Any, values: Any) -> tuple[str, ...]:
    with pytest.raises(SkipweaveError) as caught:
        validate(kind, values)
    return caught.value.problems


def test_values_take_the_declared_types():
    values = dict(title="t", rate=1, where="a/b", falls=[0.5, 1], parts=[{"size": 2}], part={"name": "b"})
    expected = Whole(
        "t", [Part(2)], Part(name="b"), 1.0, 0.1, Path("a/b"), (0.5, 1.0), "last", {"a": [1, None, {"b": 0.5}]}
    )
    made = validate(Whole, {**values, "args": {"a": (1, None, {"b": 0.5})}, "which": "last"})
    assert made == expected
    assert isinstance(made.rate, float)
    assert made.args["a"] == [1, None, {"b": 0.5}]


def test_python_takes_the_same_values():
    made = Whole("t", parts=[Part(2), {"size": 3}], rate=1, where="a/b", falls=[0.5, 1])
    assert made == Whole("t", parts=[Part(2), Part(3)], rate=1.0, where=Path("a/b"), falls=(0.5, 1.0))
    with pytest.raises(SkipweaveError) as caught:
        Whole("t", rate="fast", part=None)
    assert caught.value.problems == problems(Whole, {"title": "t", "rate": "fast", "part": None})
    with pytest.raises(SkipweaveError):
        replace(made, rate="fast")


@pytest.mark.parametrize("value", [0, 1, 0.0, 0.5])
def test_integers_and_floats_keep_their_type(value: float):
    assert type(Whole("t", amount=value).amount) is type(value)


def test_each_mistake_is_one_problem_that_has_the_dotted_name():
    values = dict(titel=1, parts=[{"size": 0}, {"size": "x", "nme": 1}, 3], rate="fast", amount="x", which="bset")
    found = problems(Whole, {**values, "falls": [1, "a"], "args": {"a": object()}})
    assert_each_reports(
        found,
        ("title",),
        ("parts[0].size", 0),
        ("parts[1].size", "'x'"),
        ("parts[1].nme", "name"),
        ("parts[2]", 3, "size, name"),
        ("rate", "'fast'"),
        ("amount", "'x'"),
        ("falls[1]", "'a'"),
        ("which", "'bset'", "best"),
        ("args", "'a'"),
        ("titel", "title"),
    )


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (Integer, True),
        (Integer, 1.0),
        (Integer, 2**63),
        (Integer, -(2**63) - 1),
        (Integer, 10**5000),
        (Integer, "1"),
        (Number, float("nan")),
        (Number, float("inf")),
        (Number, 10**400),
        (Number, "0.5"),
        (Number, False),
        (Flag, 1),
        (Flag, "true"),
        (Text, 1),
        (Text, "a\0b"),
        (Text, "\ud800"),
        (FilePath, "a\0b"),
        (FilePath, 3),
        (list[Integer], "12"),
        (list[Integer], {1: 2}),
        (Integer | None, "none"),
        (Literal["a"], []),
        (PlainValues, [1]),
        (PlainValues, {"a": float("nan")}),
        (PlainValues, {"a": 2**63}),
        (PlainValues, {1: 2}),
        (PlainValues, {"\ud800": 2}),
        (PlainValues, {"a": "\0"}),
        (PlainValues, {"a": b"bytes"}),
        (PlainValues, {"a": {1, 2}}),
        (Count, "60 kB"),
        (Count, "1e6"),
        (Count, 0),
        (Count, "many"),
        (MemorySize, "0"),
        (MemorySize, "8 bananas"),
        (MemorySize, True),
    ],
    ids=shown,
)
def test_invalid_values_are_rejected(hint, value):
    with pytest.raises(SkipweaveError) as caught:
        validate(hint, value, "it")
    (problem,) = caught.value.problems
    assert_reports(problem, "it", shown(value))


@pytest.mark.parametrize(("text", "count"), [(60_000, 60_000), ("60000", 60_000), ("60k", 60_000), ("2 G", 2 * 10**9)])
def test_counts(text, count):
    assert validate(Count, text) == count


@pytest.mark.parametrize(("text", "size"), [("8GiB", 2**33), ("500MB", 5 * 10**8), ("1.5GiB", 3 * 2**29), (7, 7)])
def test_memory_sizes(text, size):
    assert validate(MemorySize, text) == size


def test_deep_nesting_is_rejected():
    nest: Any = 1
    for _ in range(100_000):
        nest = [nest]
    with pytest.raises(SkipweaveError) as caught:
        validate(PlainValues, {"a": nest}, "it")
    assert_reports(caught.value.problems[0], "it")
    while isinstance(nest, list):  # Python itself would take it apart recursively
        nest = nest[0]


@dataclass(frozen=True)
class Record:
    """A line of a JSON file."""

    epoch: int
    error: float | None
    names: tuple[str, ...] = ()


def test_json_is_validated_strictly():
    assert validate_json(list[Record], [{"epoch": 1, "error": 2, "names": ["a"]}]) == [Record(1, 2.0, ("a",))]
    for wrong in ({"epoch": "1", "error": 2}, {"epoch": 1}, {"epoch": True, "error": 2}, {"epoch": 1, "eror": 2}):
        with pytest.raises(SkipweaveError) as caught:
            validate_json(list[Record], json.loads(json.dumps([wrong])), "rows")
        assert all("rows[0]" in problem for problem in caught.value.problems)
