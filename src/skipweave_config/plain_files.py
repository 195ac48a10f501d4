"""Reading of untrusted YAML and JSON files: plain values only, of bounded size."""

import json
import re
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import yaml

from skipweave_config.errors import SkipweaveError

MOST_BYTES = 2**22


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """Read a text file of limited size, by default 4 MiB.

    Raises:
        SkipweaveError: It is missing, larger, not a regular file (a pipe may never end) or not UTF-8.
    """
    try:
        if path.exists() and not path.is_file():
            raise SkipweaveError(f"not a file: {path}")
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise SkipweaveError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > most_bytes:
        raise SkipweaveError(f"too large: {path} has more than {most_bytes:,} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SkipweaveError(f"not a text file: {path} ({error})") from error


def read_yaml(path: Path) -> Any:
    """Read a YAML file of plain values, without Python tags, aliases and duplicate keys.

    Raises:
        SkipweaveError: It cannot be read, or is not such a file.
    """
    return _parsed("YAML", parse_yaml, read_text(path), path)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        SkipweaveError: It cannot be read, or is not JSON.
    """
    return _parsed("JSON", json.loads, read_text(path), path)


def parse_yaml(text: str) -> Any:
    """Parse YAML as `read_yaml` does.

    Raises:
        yaml.YAMLError: It is not YAML.

    >>> parse_yaml("{lr: 1e-4, date: 2026-11-21}")
    {'lr': 0.0001, 'date': '2026-11-21'}
    """
    return yaml.load(text, _PlainLoader)  # a SafeLoader


def _parsed(kind: str, parse: Callable[[str], Any], text: str, path: Path) -> Any:
    try:
        return parse(text)
    except RecursionError:
        raise SkipweaveError(f"not a {kind} file: {path} (nested too deeply)") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: of JSON, or a whole number of too many digits
        raise SkipweaveError(f"not a {kind} file: {path} ({' '.join(str(error).split())})") from error


class _PlainLoader(yaml.SafeLoader):
    """Safe loader that also rejects aliases and duplicate keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Reject aliases: a few of them can stand for billions of values."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases are not allowed: write the value out ({self.peek_event().start_mark})")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Reject duplicate keys."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise yaml.YAMLError(f"{', '.join(twice)} given more than once ({node.start_mark})")
        return super().construct_mapping(node, deep)


# Unlike YAML 1.1, 1e-4 is a number, and dates are text.
_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?|\d*\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)
