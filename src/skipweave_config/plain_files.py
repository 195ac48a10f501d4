"""Read YAML and JSON that may come from anywhere: plain values only, never more than a bounded amount of them."""

import json
import re
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import yaml

from skipweave_config.errors import SkipweaveError

MOST_BYTES = 2**22


def read_text(path: Path) -> str:
    """Read a text file of at most 4 MiB.

    Raises:
        SkipweaveError: it is missing, larger, no file (a pipe would never end) or no text.
    """
    try:
        if path.exists() and not path.is_file():
            raise SkipweaveError(f"not a file: {path}")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SkipweaveError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise SkipweaveError(f"too large: {path} has more than {MOST_BYTES:,} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SkipweaveError(f"not a text file: {path} ({error})") from error


def read_yaml(path: Path) -> Any:
    """Read a YAML file of plain values: no tags of Python's, no aliases, no key twice.

    Raises:
        SkipweaveError: it cannot be read, or is not such a file.
    """
    return _parsed("YAML", parse_yaml, read_text(path), path)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        SkipweaveError: it cannot be read, or is not JSON.
    """
    return _parsed("JSON", json.loads, read_text(path), path)


def parse_yaml(text: str) -> Any:
    """Parse YAML as `read_yaml` does.

    Raises:
        yaml.YAMLError: it is none.

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
    """A safe loader that also refuses what plain settings do not need and what hides mistakes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases: a few of them can stand for billions of values."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases are not taken here: write the value out ({self.peek_event().start_mark})")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that stands twice."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise yaml.YAMLError(f"{', '.join(twice)} given more than once ({node.start_mark})")
        return super().construct_mapping(node, deep)


# Numbers such as 1e-4, which YAML 1.1 takes for text, are numbers; dates are text.
_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?|\d*\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)
