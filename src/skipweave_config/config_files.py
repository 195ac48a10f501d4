"""Config files: YAML in, YAML out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter

from skipweave_config.errors import SkipweaveError
from skipweave_config.plain_files import read_yaml
from skipweave_config.validation import validate

Config = TypeVar("Config")


def read_values(path: Path) -> Mapping[str, Any]:
    """Read the values of a config file, not validated yet.

    Raises:
        SkipweaveError: The file is missing, is not YAML, or holds no mapping.
    """
    values = read_yaml(path)
    if not isinstance(values, Mapping):
        raise SkipweaveError(f"{path} is not a config file: expected lines such as `epochs: 10`")
    return values


def read(kind: type[Config], path: Path) -> Config:
    """Read a config from a YAML file.

    Raises:
        SkipweaveError: The file is missing or is not YAML, or holds unknown names or wrong values; all are listed.
    """
    values = read_values(path)
    try:
        return validate(kind, values)
    except SkipweaveError as error:
        raise SkipweaveError(*(f"{path}: {problem}" for problem in error.problems)) from error


def as_plain(config: Any) -> dict[str, Any]:
    """A config as nested dictionaries, lists, numbers and text, as YAML and JSON hold them."""
    return TypeAdapter(type(config)).dump_python(config, mode="json")


def as_yaml(config: Any) -> str:
    """A config as the text of a YAML file."""
    return yaml.safe_dump(as_plain(config), sort_keys=False)
