"""Settings as dataclasses: an argument parser for them, and their values checked, every mistake in one message."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from skipweave.errors import SkipweaveError

Settings = TypeVar("Settings")


def add_settings(parser: ArgumentParser, kind: type) -> None:
    """Give a parser the options of a dataclass (`--epochs`, `--model.name`) and `--config FILE`, which reads them."""
    parser.add_argument("--config", action="config", help="YAML file of settings; options after it win")
    _add_fields(parser, kind)


def build(kind: type[Settings], values: Namespace | Mapping[str, Any]) -> Settings:
    """Make a dataclass, and those within it, from parsed values.

    Args:
        kind: the dataclass.
        values: one a field, as the parser of `add_settings` gives them; others are left alone.

    Raises:
        SkipweaveError: one line that lists the mistakes of every part.
    """
    made: dict[str, object] = {}
    problems: list[str] = []
    for name, hint in get_type_hints(kind).items():
        try:
            made[name] = _make(hint, values[name])
        except SkipweaveError as error:
            problems.append(f"{name}: {error}")
    try:
        settings = kind(**made)
    except SkipweaveError as error:
        problems.insert(0, str(error))
    if problems:
        raise SkipweaveError("; ".join(problems))
    return settings


def read(kind: type[Settings], path: Path) -> Settings:
    """Read a dataclass from a YAML file.

    Raises:
        SkipweaveError: the file is missing, is not YAML, or holds unknown names or wrong values.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SkipweaveError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SkipweaveError(f"not a YAML file: {path} ({' '.join(str(error).split())})") from error
    if not isinstance(values, Mapping):
        raise SkipweaveError(f"{path} holds no settings: expected lines such as `epochs: 10`")
    parser = ArgumentParser(exit_on_error=False)
    _add_fields(parser, kind)
    try:
        return build(kind, parser.parse_object(dict(values)))
    except (ArgumentError, SkipweaveError) as error:
        raise SkipweaveError(f"{path}: {' '.join(str(error).split())}") from error


def _add_fields(parser: ArgumentParser, kind: type) -> None:
    """Give a parser a dataclass's fields; its defaults as plain values, since `--print_config` writes no others."""
    parser.add_class_arguments(kind, as_group=False, default=asdict(kind()))


def _make(hint: Any, value: Any) -> Any:
    """A field's value: made into a dataclass, or a list of them, where the field is declared so."""
    if isinstance(hint, type) and is_dataclass(hint):
        return build(hint, value)
    if isinstance(value, list) and any(map(is_dataclass, get_args(hint))):
        return [build(get_args(hint)[0], item) for item in value]
    return value
