"""Plain values become typed ones, or every mistake is told."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from skipweave.config.typed import build, expected, shown, take_types, typed
from skipweave.errors import SkipweaveError


@dataclass(frozen=True)
class Part:
    """A part with a limit and something dear to check."""

    size: int = 1
    name: str = "a"

    def __post_init__(self) -> None:
        take_types(self)
        if self.size < 1:
            raise SkipweaveError(f"size is {self.size}: expected at least 1")

    def check(self) -> None:
        if self.name == "none":
            raise SkipweaveError("there is no such name")


@dataclass(frozen=True)
class Whole:
    """All kinds of fields."""

    title: str
    parts: list[Part] = field(default_factory=list)
    part: Part = field(default_factory=Part)
    rate: float = 0.5
    count: int | str | None = None
    where: Path | None = None
    falls: tuple[float, ...] = ()
    which: Literal["best", "last"] = "best"
    args: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        take_types(self)


def test_values_take_the_declared_types():
    values = dict(title="t", rate=1, count="60k", where="a/b", falls=[0.5, 1], parts=[{"size": 2}], part={"name": "b"})
    made = build(Whole, {**values, "args": {"a": [1, None, {"b": 0.5}]}, "which": "last"})
    assert made == Whole(
        "t", [Part(2)], Part(name="b"), 1.0, "60k", Path("a/b"), (0.5, 1.0), "last", {"a": [1, None, {"b": 0.5}]}
    )
    assert isinstance(made.rate, float)
    assert build(Whole, {"title": "t"}) == Whole("t")


def test_what_is_made_in_python_takes_the_declared_types_too():
    made = Whole("t", parts=[Part(2), {"size": 3}], rate=1, where="a/b", falls=[0.5, 1])
    assert made == Whole("t", parts=[Part(2), Part(3)], rate=1.0, where=Path("a/b"), falls=(0.5, 1.0))
    assert isinstance(made.rate, float)


def test_what_is_made_in_python_is_refused_for_its_types_and_its_ranges_at_once():
    with pytest.raises(SkipweaveError) as caught:
        Part(size=0, name=3)
    assert caught.value.problems == ("size is 0: expected at least 1", "name is 3: expected text")
    with pytest.raises(SkipweaveError) as caught:
        Whole("t", parts=[Part(), 3], rate="fast", part=None)
    assert caught.value.problems == (
        "parts[2]: found 3: expected a mapping of settings",
        "part: found None: expected a mapping of settings",
        "rate is 'fast': expected a number",
    )


def test_every_mistake_is_told_behind_the_names_that_lead_to_it():
    values = dict(titel=1, parts=[{"size": 0}, {"size": "x", "nme": 1}, 3], rate="fast", which="bset", falls=[1, "a"])
    with pytest.raises(SkipweaveError) as caught:
        build(Whole, values)
    assert caught.value.problems == (
        "unknown setting 'titel': did you mean title? "
        "valid: title, parts, part, rate, count, where, falls, which, args",
        "title is missing: expected text",
        "parts[1]: size is 0: expected at least 1",
        "parts[2]: unknown setting 'nme': did you mean name? valid: size, name",
        "parts[2]: size is 'x': expected a whole number",
        "parts[3]: found 3: expected a mapping of settings",
        "rate is 'fast': expected a number",
        "falls[2] is 'a': expected a number",
        "which is 'bset': did you mean best? expected one of best, last",
    )


def test_what_is_dear_is_checked_only_if_asked():
    values = {"title": "t", "parts": [{"name": "none"}], "part": {"name": "none"}}
    assert build(Whole, values).part.name == "none"
    with pytest.raises(SkipweaveError) as caught:
        build(Whole, values, thorough=True)
    assert caught.value.problems == ("parts[1]: there is no such name", "part: there is no such name")


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, True),
        (int, 1.0),
        (int, 2**63),
        (int, "1"),
        (float, float("nan")),
        (float, float("inf")),
        (float, 10**400),
        (float, False),
        (bool, 1),
        (str, 1),
        (str, "a\0b"),
        (str, "\ud800"),
        (Path, "a\0b"),
        (type(None), 0),
        (list[int], "12"),
        (list[int], {1: 2}),
        (dict[str, int], {1: 2}),
        (dict[str, int], [1]),
        (int | None, "none"),
        (Literal["a"], []),
        (Any, float("nan")),
        (Any, {1: 2}),
        (Any, {"\ud800": 2}),
        (Any, b"bytes"),
        (Any, {1, 2}),
        pytest.param(Any, object(), id="an object"),
    ],
    ids=repr,
)
def test_what_does_not_fit_is_refused(hint, value):
    with pytest.raises(SkipweaveError, match=r"^it is .*: .*expected "):
        typed(hint, value, "it")


def test_nests_are_refused_before_they_break_anything():
    nest: Any = 1
    for _ in range(100_000):
        nest = [nest]
    with pytest.raises(SkipweaveError, match=r"^it is a list: expected a plain value$"):
        typed(Any, nest, "it")
    while isinstance(nest, list):  # taken apart by hand: Python's own way would be recursive
        nest = nest[0]


def test_long_values_are_cut_off_and_expectations_are_words():
    assert shown("a" * 100) == f"'{'a' * 76}..."
    assert shown(10**5000) == "a int"
    assert expected(int | str | None) == "a whole number, text or null"
    assert expected(list[dict[str, float]]) == "a list, each a mapping of names, each with a number"


def test_plain_values_become_what_a_file_gives_back():
    assert typed(dict[str, Any], {"units": (1, (2, 3)), "a": {"b": ()}}, "args") == {
        "units": [1, [2, 3]],
        "a": {"b": []},
    }
    assert typed(list[int], range(3), "seeds") == [0, 1, 2]
