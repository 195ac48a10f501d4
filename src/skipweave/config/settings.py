"""Settings as dataclasses: options for the command line, and their way from YAML files and back."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from skipweave.config.typed import Settings, build
from skipweave.errors import SkipweaveError
from skipweave.files.plain_files import read_yaml


def add_settings(parser: ArgumentParser, kind: type) -> None:
    """Give a parser the options of a dataclass (`--epochs`, `--model.name`)."""
    parser.add_class_arguments(kind, as_group=False, default=as_plain(kind()))


def read_values(path: Path) -> Mapping[str, Any]:
    """Read a YAML file of settings, as plain values that are still to be checked (`typed.build`).

    Raises:
        SkipweaveError: the file is missing, is not YAML, or holds no settings.
    """
    values = read_yaml(path)
    if not isinstance(values, Mapping):
        raise SkipweaveError(f"{path} holds no settings: expected lines such as `epochs: 10`")
    return values


def read(kind: type[Settings], path: Path) -> Settings:
    """Read a dataclass from a YAML file.

    Raises:
        SkipweaveError: the file is missing, is not YAML, or holds unknown names or wrong values, which are all told.
    """
    try:
        return build(kind, read_values(path))
    except SkipweaveError as error:
        if str(path) in str(error):
            raise
        raise SkipweaveError(*(f"{path}: {problem}" for problem in error.problems)) from error


def as_plain(settings: Any) -> dict[str, Any]:
    """A dataclass as nested dictionaries, lists, numbers and strings, as YAML and JSON hold them."""
    return _plain(asdict(settings))


def as_yaml(settings: Any) -> str:
    """A dataclass as a YAML file holds it."""
    return yaml.safe_dump(as_plain(settings), sort_keys=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
