"""The help of a command, from the docstrings, types and defaults of its options."""

import inspect
import re
from argparse import SUPPRESS, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Mapping
from dataclasses import MISSING, Field, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import ByteSize

from skipweave_cli.parser import Option, Syntax
from skipweave_config.validation import plain_hint

_TYPES = {bool: "BOOL", int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH", ByteSize: "SIZE"}


def help_text(syntax: Syntax) -> str:
    """The text that `--help` prints."""
    parser = ArgumentParser(
        prog=syntax.prog,
        usage=syntax.usage,
        description=documented(syntax.kind)[0],
        formatter_class=RawDescriptionHelpFormatter,
        add_help=False,
    )
    for option in syntax.positional:
        parser.add_argument(option.name.upper(), help=_help(option))
    common = parser.add_argument_group("options")
    common.add_argument("-h", "--help", action="help", help="print this help")
    if syntax.config:
        common.add_argument("--config", metavar="PATH", help="YAML config file, may be repeated; options override it")
        common.add_argument("--print_config", action="store_true", help="print the config as YAML, and exit")
    groups = {"": common}
    for option in syntax.options:
        if option.group:
            summary = documented(plain_hint(option.hint))[0].split("\n")[0]
            groups[option.name] = parser.add_argument_group(option.name, _escaped(summary))
            continue
        group = groups[option.name.rpartition(".")[0]]
        group.add_argument(option.flag, metavar=type_name(option.hint), help=_help(option), default=SUPPRESS)
    return parser.format_help().rstrip("\n")


def documented(kind: type) -> tuple[str, Mapping[str, str]]:
    """The description of a class, and that of each attribute, from its docstring."""
    description, _, attributes = (inspect.getdoc(kind) or "").partition("\n\nAttributes:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", attributes, re.MULTILINE)
    return description, {name: " ".join(text.split()) for name, text in entries}


def type_name(hint: Any) -> str:
    """The name of a type, or the valid values.

    >>> type_name(tuple[int, ...] | None)
    'INT,...'
    """
    hint = plain_hint(hint)
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return "|".join(map(type_name, parts))
    if origin is Literal:
        return "|".join(map(str, parts))
    if origin in (list, tuple):
        fixed = origin is tuple and Ellipsis not in parts
        return ",".join(map(type_name, parts)) if fixed else f"{type_name(parts[0])},..."
    return "MAPPING" if origin is dict or is_dataclass(hint) else _TYPES[hint]


def _help(option: Option) -> str:
    text = documented(option.owner)[1].get(option.name.rpartition(".")[2], "")
    shown = _shown(option.field.default if option.field.default is not MISSING else _made(option.field))
    return _escaped(text.replace("`", "") + (f" (default: {shown})" if shown else ""))


def _made(field: Field[Any]) -> Any:
    return MISSING if field.default_factory is MISSING else field.default_factory()


def _shown(default: Any) -> str:
    if default in (MISSING, None, "", (), {}) or (isinstance(default, list) and any(map(is_dataclass, default))):
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(map(_shown, default)) if isinstance(default, list | tuple) else str(default)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
