"""Give plain values, as files hold them, the types that dataclasses declare; every mistake in one message."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from itertools import chain
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from skipweave.config.checks import misplaced_file, nearest
from skipweave.errors import SkipweaveError, noted_in

Settings = TypeVar("Settings")

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    NoneType: "null",
    Any: "a plain value",
}
_DEEPEST = 16
_MOST = 2**63


def build(kind: type[Settings], values: Any, *, thorough: bool = False) -> Settings:
    """Make a dataclass, and those within it, from plain values.

    Args:
        kind: the dataclass. What it checks of its values itself is told together with wrong names and types.
        values: a mapping of field names to values; fields that are left out keep their defaults.
        thorough: whether `check` is called, where a dataclass has that method: for what costs more than a look at the
            values.

    Raises:
        SkipweaveError: one problem a mistake, each behind the names of the fields that lead to it.
    """
    hints = get_type_hints(kind)
    if not isinstance(values, Mapping):
        named = f", such as {{name: {values}}}" if isinstance(values, str) and "name" in hints else ""
        raise SkipweaveError(f"found {shown(values)}: expected {expected(kind)}{misplaced_file(values) or named}")
    needed = [field.name for field in fields(kind) if field.default is field.default_factory is MISSING]  # type: ignore[arg-type]
    problems = [_unknown(name, list(hints)) for name in values if name not in hints]
    problems += [f"{name} is missing: expected {expected(hints[name])}" for name in needed if name not in values]
    given, wrong = _fields(hints, values, thorough)
    if all(name in given for name in needed):
        try:
            made = kind(**given)
            if thorough:
                getattr(made, "check", lambda: None)()
        except SkipweaveError as error:
            problems += [problem for problem in error.problems if not _mentions(problem, wrong)]
    if problems or wrong:
        raise SkipweaveError(*problems, *chain.from_iterable(wrong.values()))
    return made


def take_types(settings: Any) -> None:
    """Give the fields of a dataclass that is being made the types that it declares, as `build` does.

    Call it first in `__post_init__`: what is wrong in Python, `FitConfig(epochs="many")`, is then refused in the
    words in which it is in a file. Text may stand for a path, a whole number for a number, a mapping for a dataclass.

    Args:
        settings: the dataclass, frozen or not.

    Raises:
        SkipweaveError: a value does not fit; what the class checks of the others is told with it.
    """
    kind = type(settings)
    values = {field.name: getattr(settings, field.name) for field in fields(kind)}
    given, wrong = _fields(get_type_hints(kind), values, thorough=False)
    if wrong:
        build(kind, values)  # which raises
    for name, value in given.items():
        object.__setattr__(settings, name, value)


def typed(hint: Any, value: Any, name: str, *, thorough: bool = False) -> Any:
    """Give a value the type that is declared for it.

    Args:
        hint: a dataclass, bool, int, float, str, Path, None, Any (plain values), a literal, or lists, tuples, mappings
            and unions of these.
        value: plain, or such a dataclass, made.
        name: what messages call it.
        thorough: as for `build`.

    Raises:
        SkipweaveError: it does not fit.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        if isinstance(value, hint):  # type: ignore[arg-type]
            return value
        try:
            return build(hint, value, thorough=thorough)  # type: ignore[arg-type]
        except SkipweaveError as error:
            raise SkipweaveError(*(f"{name}: {problem}" for problem in error.problems)) from error
    if origin in (Union, UnionType):
        if fitting := [part for part in parts if _fits(part, value) or _is_list_of(part, value)]:
            return typed(fitting[0], value, name)
    elif _is_list_of(hint, value):
        return origin(_each(parts[0], enumerate(value, start=1), name, thorough))
    elif origin in (dict, Mapping) and isinstance(value, Mapping) and _are_names(value):
        return dict(zip(value, _each(parts[1], value.items(), name, thorough), strict=True))
    elif origin is Literal and value in parts:
        return value
    elif _fits(hint, value):
        return _with_lists(value) if hint is Any else None if hint is NoneType else hint(value)
    if type(value) is int and not -_MOST <= value < _MOST:
        raise SkipweaveError(f"{name} is {shown(value)}: expected a number of 64 bits at most")
    near = nearest(str(value), [str(part) for part in parts], most=1) if origin is Literal else ""
    raise SkipweaveError(f"{name} is {shown(value)}: {near}expected {expected(hint)}")


def expected(hint: Any) -> str:
    """What values of a type are, in words.

    >>> expected(dict[str, int] | None)
    'a mapping of names, each with a whole number, or null'
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        *others, last = map(expected, parts)
        return f"{', '.join(others)}{',' if any(',' in other for other in others) else ''} or {last}"
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin in (list, tuple, Sequence):
        number = f" of {len(parts)}" if origin is tuple and Ellipsis not in parts else ""
        return f"a list{number}, each {expected(parts[0])}"
    if origin in (dict, Mapping):
        return f"a mapping of names, each with {expected(parts[1])}"
    return "a mapping of settings" if is_dataclass(hint) else _WORDS.get(hint, str(hint))


def shown(value: Any) -> str:
    """A value for a message, cut off where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of too many digits, or a nest
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _fields(
    hints: Mapping[str, Any], values: Mapping[str, Any], thorough: bool
) -> tuple[dict[str, Any], dict[str, Sequence[str]]]:
    """The values that fit their types, typed; and the problems of the others."""
    given: dict[str, Any] = {}
    wrong: dict[str, Sequence[str]] = {}
    for name in filter(values.__contains__, hints):
        try:
            given[name] = typed(hints[name], values[name], name, thorough=thorough)
        except SkipweaveError as error:
            wrong[name] = error.problems
    return given, wrong


def _each(hint: Any, items: Iterable[tuple[int | str, Any]], name: str, thorough: bool) -> list[Any]:
    """The values, typed; the problems of all of them together."""
    made: list[Any] = []
    problems: list[str] = []
    for key, value in items:
        with noted_in(problems):
            made.append(typed(hint, value, f"{name}[{key!r}]", thorough=thorough))
    if problems:
        raise SkipweaveError(*problems)
    return made


def _unknown(name: Any, valid: Sequence[str]) -> str:
    return f"unknown setting {shown(name)}: {nearest(str(name), valid, most=1)}valid: {', '.join(valid)}"


def _mentions(problem: str, names: Iterable[str]) -> bool:
    """Whether a problem may be told only because a field, which is wrong, was left at its default."""
    return any(re.search(rf"\b{name}\b", problem) for name in names)


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value is of a simple type, or can stand for one: a whole number for a number, text for a path."""
    if hint is Any:
        return _is_plain(value, _DEEPEST)
    if hint is float and isinstance(value, float):
        return math.isfinite(value)
    if hint in (int, float):
        return isinstance(value, int) and not isinstance(value, bool) and -_MOST <= value < _MOST
    if hint in (str, Path):
        return _is_text(value) or (hint is Path and isinstance(value, Path) and _is_text(str(value)))
    return isinstance(hint, type) and isinstance(value, hint)


def _is_list_of(hint: Any, value: Any) -> bool:
    """Whether a value is a list of as many values as a type of lists asks for."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin not in (list, tuple) or not isinstance(value, list | tuple | range):
        return False
    return origin is list or Ellipsis in parts or len(value) == len(parts)


def _is_plain(value: Any, deepest: int) -> bool:
    """Whether JSON and YAML hold a value, nested no deeper than so many times."""
    if isinstance(value, Mapping):
        return deepest > 0 and _are_names(value) and all(_is_plain(item, deepest - 1) for item in value.values())
    if isinstance(value, list | tuple):
        return deepest > 0 and all(_is_plain(item, deepest - 1) for item in value)
    return value is None or any(_fits(kind, value) for kind in (bool, int, float, str))


def _with_lists(value: Any) -> Any:
    """A plain value as files give it back: tuples are lists."""
    if isinstance(value, Mapping):
        return {name: _with_lists(item) for name, item in value.items()}
    return [_with_lists(item) for item in value] if isinstance(value, list | tuple) else value


def _are_names(keys: Iterable[Any]) -> bool:
    return all(map(_is_text, keys))


def _is_text(value: Any) -> bool:
    """Whether it is text that can be written to a file and be part of a path: no NUL, no half of a surrogate pair."""
    return isinstance(value, str) and not re.search("[\0\ud800-\udfff]", value)
