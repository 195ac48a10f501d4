"""Settings as dataclasses: an argument parser for them, and their values checked, every mistake in one message."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TypeVar, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from skipweave.errors import SkipweaveError

Settings = TypeVar("Settings")


def add_settings(parser: ArgumentParser, kind: type) -> None:
    """Give a parser the options of a dataclass (`--epochs`, `--model.name`) and `--config FILE`, which reads them."""
    parser.add_argument("--config", action="config", help="YAML file of settings; options after it win")
    parser.add_class_arguments(kind, as_group=False)


def build(kind: type[Settings], values: Namespace) -> Settings:
    """Make a dataclass, and those within it, from parsed values.

    Args:
        kind: the dataclass.
        values: one a field, as the parser of `add_settings` gives them; others are left alone.

    Raises:
        SkipweaveError: one line that lists the mistakes of every part.
    """
    made: dict[str, object] = {}
    problems: list[str] = []
    for name, part in _parts(kind).items():
        try:
            made[name] = build(part, values[name])
        except SkipweaveError as error:
            problems.append(f"{name}: {error}")
    plain = {field.name: values[field.name] for field in fields(kind) if field.name not in _parts(kind)}  # type: ignore[arg-type]
    try:
        settings = kind(**plain, **made)
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
    parser.add_class_arguments(kind, as_group=False)
    try:
        return build(kind, parser.parse_object(dict(values)))
    except (ArgumentError, SkipweaveError) as error:
        raise SkipweaveError(f"{path}: {' '.join(str(error).split())}") from error


def _parts(kind: type) -> dict[str, type]:
    """The fields of a dataclass that are dataclasses."""
    return {name: part for name, part in get_type_hints(kind).items() if isinstance(part, type) and is_dataclass(part)}
