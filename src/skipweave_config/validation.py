"""Validation of configs by pydantic, with every mistake reported in one SkipweaveError.

pydantic checks types, ranges, names and nesting; fields are compared by validators of the later field, which look up
the earlier ones in `ValidationInfo.data`, so that one wrong field does not hide another. Only the wording is our own:
pydantic names classes and members of unions where a config file has dotted names.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import field, fields, is_dataclass
from pathlib import PurePath
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from skipweave_config.errors import SkipweaveError
from skipweave_config.hints import misplaced_file, nearest

T = TypeVar("T")

_UNKNOWN = "unexpected_keyword_argument"


class _Raising(type):
    """Metaclass of configs: a wrong value raises SkipweaveError in Python as in a file."""

    def __call__(cls, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            raise SkipweaveError(*_problems(error, cls)) from None


def nested(kind: type[T]) -> T:
    """A field that holds a config with its defaults, made by the validator of the class that the field belongs to."""
    return field(default_factory=dict)  # type: ignore[return-value]


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Config(metaclass=_Raising):
    """Base of configs: subclasses are frozen pydantic dataclasses, whose construction raises SkipweaveError.

    Annotations are those of `skipweave_config.fields`, literals, other configs, and lists and tuples of these.
    """

    def __init_subclass__(cls) -> None:
        """Make a dataclass; its validator is built when it is used first, for the sake of start-up."""
        dataclass(frozen=True, config=ConfigDict(extra="forbid", validate_default=True, defer_build=True))(cls)


def validate(kind: Any, values: Any, name: str = "") -> Any:
    """Validate values as YAML files, the command line and Python give them.

    Args:
        kind: A config, or any type of `skipweave_config.fields`.
        values: Mappings, lists, text and numbers.
        name: Prefix of the dotted names in messages.

    Raises:
        SkipweaveError: One problem per mistake, each prefixed by its dotted name.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise SkipweaveError(*_problems(error, kind, name)) from None


def validate_json(kind: Any, values: Any, name: str = "") -> Any:
    """Strictly validate values loaded from JSON against a standard type or dataclass.

    Args:
        kind: The type.
        values: As `json.loads` returned them.
        name: Prefix of the dotted names in messages.

    Raises:
        SkipweaveError: As for `validate`.
    """
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values), strict=True, extra="forbid")
    except ValidationError as error:
        raise SkipweaveError(*_problems(error, kind, name)) from None


def shown(value: Any) -> str:
    """A value for a message, cut off if it is long."""
    try:
        text = repr(str(value) if isinstance(value, PurePath) else value)
    except (ValueError, RecursionError):  # an integer of too many digits, or deep nesting
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def plain_hint(hint: Any) -> Any:
    """A type without annotations and None.

    >>> plain_hint(Annotated[int, 3] | None)
    <class 'int'>
    """
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, UnionType):
        parts = [plain_hint(part) for part in get_args(hint) if part is not type(None)]
        return parts[0] if len(parts) == 1 else Union[tuple(parts)]  # noqa: UP007 (made at run time)
    return hint


def _problems(error: ValidationError, kind: Any, prefix: str = "") -> list[str]:
    """One problem per mistake; the members of a union that all reject a value are one mistake."""
    found: dict[str, list[str]] = {}
    for entry in error.errors(include_url=False):
        place, hint = _located(kind, entry["loc"])
        name = _dotted(place, prefix)
        cause = entry.get("ctx", {}).get("error")
        if entry["type"] == _UNKNOWN:
            found[_dotted(entry["loc"], prefix)] = [_unknown(str(entry["loc"][-1]), name, hint)]
        elif entry["type"] == "missing":
            found[_dotted(entry["loc"], prefix)] = [f"{_dotted(entry['loc'], prefix)} is missing"]
        elif isinstance(cause, SkipweaveError):
            found.setdefault(name, []).extend(f"{name}: {problem}" if name else problem for problem in cause.problems)
        elif name in found:
            found[name][0] += f" or {_expected(entry).removeprefix('should be ')}"
        else:
            found[name] = [_wrong(name, entry["input"], hint, _expected(entry))]
    return [problem for problems in found.values() for problem in problems]


def _expected(entry: Mapping[str, Any]) -> str:
    text = entry["msg"].removeprefix("Value error, ")
    if entry["type"] == "path_type":
        return "should be a path"
    return re.sub("^(Input|List|Tuple) should", "should", text)


def _wrong(name: str, value: Any, hint: Any, expected: str) -> str:
    hint = plain_hint(hint)
    near = advice = ""
    if get_origin(hint) is Literal:
        names = list(map(str, get_args(hint)))
        near = "" if value in names else nearest(value, names)
    elif is_dataclass(hint):
        names = [own.name for own in fields(hint)]
        expected = f"should be a mapping of {', '.join(names)}"
        advice = misplaced_file(value)
        if not advice and isinstance(value, str) and "name" in names:
            advice = f", such as {{name: {value}}}"
    subject = f"{name} is {shown(value)}" if name else f"found {shown(value)}"
    return f"{subject}: {near}{expected}{advice}"


def _unknown(name: str, parent: str, kind: Any) -> str:
    valid = [own.name for own in fields(plain_hint(kind))]
    where = f"{parent}." if parent else ""
    near = nearest(name, [*valid, *_nested_names(plain_hint(kind))], inner=True)
    return f"unknown name {where}{shown(name)[1:-1]}: {near}valid names: {', '.join(valid)}"


def _nested_names(kind: Any) -> list[str]:
    """Dotted names of the fields of the configs within a config."""
    hints = get_type_hints(kind, include_extras=True)
    inner = {name: plain_hint(hint) for name, hint in hints.items() if is_dataclass(plain_hint(hint))}
    return [f"{name}.{own.name}" for name, config in inner.items() for own in fields(config)]


def _located(kind: Any, loc: tuple[int | str, ...]) -> tuple[tuple[int | str, ...], Any]:
    """The part of a pydantic location that leads through fields and items, and the type at its end."""
    place: list[int | str] = []
    for part in loc:
        hint = plain_hint(kind)
        name = fields(hint)[part].name if is_dataclass(hint) and isinstance(part, int) else part  # positional arguments
        inner = _inner(hint, name)
        if inner is None:  # a field that is not there, or what pydantic calls a member of a union
            break
        place.append(name)
        kind = inner
    return tuple(place), kind


def _inner(hint: Any, part: int | str) -> Any:
    if is_dataclass(hint):
        return get_type_hints(hint, include_extras=True).get(str(part))
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (list, tuple) and isinstance(part, int):
        return parts[0]
    return parts[1] if origin is dict else None


def _dotted(place: tuple[int | str, ...], prefix: str) -> str:
    name = prefix
    for part in place:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name
