"""Parse the words of a command by the fields of its options, and report all mistakes at once.

A field without default, or marked POSITIONAL, is a positional argument; other fields are options, dotted where they are
nested (`--optim.lr`), and mappings take free names (`--model.args.growth`). The fields of a field named `config` are
options too, and take values from `--config FILE` and, with `resume`, from the run directory; options override files.
Words become the values that YAML gives, so that pydantic validates one tree whatever its source.

argparse only formats the help: it stops at the first mistake.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from skipweave_cli.output import write_out
from skipweave_cli.unlisted_models import problems_of_unlisted
from skipweave_config.config_files import as_yaml, read_values
from skipweave_config.errors import SkipweaveError, noted_in
from skipweave_config.hints import misplaced_file, nearest
from skipweave_config.plain_files import parse_yaml
from skipweave_config.printable import printable
from skipweave_config.validation import plain_hint, validate

_FILES, _PRINT, _HELP = "--config", "--print_config", ("-h", "--help")


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: Dotted name, as in a config file.
        hint: Its type.
        field: The field, which has its default.
        owner: The class that documents it.
        group: Whether it stands for a nested config, whose fields are options themselves.
    """

    name: str
    hint: Any
    field: Field[Any]
    owner: type
    group: bool = False

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.field.default is self.field.default_factory is MISSING

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return f"--{self.name}"


@dataclass(frozen=True)
class Syntax:
    """What a command takes.

    Attributes:
        prog: The command, as in `skipweave fit`.
        kind: The class of its options.
        positional: Positional arguments.
        options: Options.
        config: The class of its config, or None.
    """

    prog: str
    kind: Any
    positional: Sequence[Option]
    options: Sequence[Option]
    config: Any = None

    @property
    def usage(self) -> str:
        """The usage line, with positional arguments only."""
        return " ".join([self.prog, *map(_placeholder, self.positional), "[OPTIONS]"])

    @property
    def flags(self) -> list[str]:
        """All options on the command line."""
        return [option.flag for option in self.options] + ([_FILES, _PRINT] if self.config else []) + ["--help"]


def parse(kind: Any, argv: Sequence[str], prog: str) -> Any:
    """Parse the words after a command.

    Returns:
        The options; None after printing help or a config.

    Raises:
        SkipweaveError: Words or files that they name are wrong; all mistakes are listed.
    """
    syntax = syntax_of(kind, prog)
    positional, given = _split(argv, syntax)
    if any(name in _HELP for name, _ in given):
        from skipweave_cli.help_text import help_text

        write_out(help_text(syntax))
        return None
    problems: list[str] = []
    tree, files, printed = _tree(syntax, given, problems)
    _add_positional(syntax, positional, tree, problems)
    config = _config(syntax, tree, files, problems) if syntax.config else None
    options = None
    with noted_in(problems):
        if config is not None:
            tree["config"] = config
        if config is not None or not syntax.config:
            options = validate(kind, tree)
    if problems:
        raise SkipweaveError(*problems)
    if printed:
        write_out(printable(as_yaml(config).rstrip("\n")))
        return None
    return options


def syntax_of(kind: Any, prog: str) -> Syntax:
    """The positional arguments and options that the fields of a class make."""
    hints = get_type_hints(kind, include_extras=True)
    own = [field for field in fields(kind) if field.name != "config"]
    positional = [field for field in own if _is_positional(field, hints[field.name])]
    options = [option for field in own if field not in positional for option in _options(kind, field, hints)]
    config = hints.get("config")
    if config:
        options = [*options_of(config), *options]
    return Syntax(prog, kind, [Option(f.name, hints[f.name], f, kind) for f in positional], options, config)


def options_of(kind: Any, prefix: str = "") -> list[Option]:
    """The options of a config: its fields, and those of configs within it."""
    hints = get_type_hints(kind, include_extras=True)
    return [option for field in fields(kind) for option in _options(kind, field, hints, prefix)]


def _options(kind: Any, field: Field[Any], hints: Mapping[str, Any], prefix: str = "") -> Iterator[Option]:
    hint, name = hints[field.name], f"{prefix}{field.name}"
    nested = is_dataclass(plain_hint(hint))
    yield Option(name, hint, field, kind, nested)
    if nested:
        yield from options_of(plain_hint(hint), f"{name}.")


def _is_positional(field: Field[Any], hint: Any) -> bool:
    marked = get_origin(hint) is Annotated and "positional" in hint.__metadata__
    return marked or (field.default is MISSING and field.default_factory is MISSING)


def _placeholder(option: Option) -> str:
    name = option.name.upper()
    if _takes_many(option):
        return f"{name}..."
    return name if option.required else f"[{name}]"


def _takes_many(option: Option) -> bool:
    return get_origin(plain_hint(option.hint)) is tuple


def _is_switch(option: Option) -> bool:
    return plain_hint(option.hint) is bool


def _split(argv: Sequence[str], syntax: Syntax) -> tuple[list[str], list[tuple[str, str | None]]]:
    """Words that stand alone; and options with their values, None where there is none."""
    switches = [option.flag for option in syntax.options if syntax.positional and _is_switch(option)]
    positional: list[str] = []
    given: list[tuple[str, str | None]] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            return [*positional, *words], given
        if not _is_option(word):
            positional.append(word)
            continue
        name, equals, value = word.partition("=")
        if equals:
            given.append((name, value))
        elif name in (_PRINT, *_HELP) or not words or words[0].startswith("--"):
            given.append((name, None))
        else:
            is_value = name not in switches or isinstance(_parsed(words[0]), bool)  # or else a positional argument
            given.append((name, words.pop(0) if is_value else None))
    return positional, given


def _is_option(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and not re.match(r"-\.?\d", word)


def _tree(
    syntax: Syntax, given: Sequence[tuple[str, str | None]], problems: list[str]
) -> tuple[dict[str, Any], list[Path], bool]:
    """The values of the options as a tree, the config files, and whether the config is to be printed."""
    tree: dict[str, Any] = {}
    files: list[Path] = []
    printed = False
    for name, text in given:
        option, rest = _find(syntax, name)
        if syntax.config and name == _PRINT and text is None:
            printed = True
        elif syntax.config and name == _FILES and text:
            files.append(Path(text))
        elif text is None and option and _is_switch(option):
            _set(tree, option.name.split("."), True)
        elif text is None and (option or name in syntax.flags):
            problems.append(f"{name.removeprefix('--')} has no value: usage: {name} VALUE")
        elif text is not None and option:
            _set(tree, [*option.name.split("."), *rest], _free_value(text) if rest else _value(option.hint, text))
        else:
            problems.append(_unknown(syntax, name, text))
    return tree, files, printed


def _find(syntax: Syntax, name: str) -> tuple[Option | None, list[str]]:
    """The option of a name; and, for a name within a mapping, what leads on from there."""
    for option in syntax.options:
        if name == option.flag:
            return option, []
        if name.startswith(f"{option.flag}.") and get_origin(plain_hint(option.hint)) is dict:
            rest = name.removeprefix(f"{option.flag}.").split(".")
            return (option, rest) if all(rest) else (None, [])
    return None, []


def _set(tree: dict[str, Any], names: Sequence[str], value: Any) -> None:
    *parents, last = names
    for name in parents:
        if not isinstance(tree.get(name), dict):
            tree[name] = {}
        tree = tree[name]
    tree[last] = value


def _value(hint: Any, text: str) -> Any:
    """The value of a word: as it is where text is expected, else as YAML has it; lists need no brackets."""
    kind, optional = plain_hint(hint), type(None) in get_args(hint)
    if kind in (str, Path) or (get_origin(kind) is Literal and all(isinstance(name, str) for name in get_args(kind))):
        return None if optional and text == "null" else text
    if text[:1] != "[" and text != "null" and _is_sequence(kind, text):
        text = f"[{text}]"
    return _parsed(text)


def _is_sequence(kind: Any, text: str) -> bool:
    """Whether a word is the items of a list or tuple; where another type is valid too, it is if it has a comma."""
    if get_origin(kind) is Union:
        return "," in text and any(_is_sequence(part, text) for part in get_args(kind))
    return get_origin(kind) in (list, tuple)


def _free_value(text: str) -> Any:
    """Parse the value of an untyped option as YAML; a value with commas becomes a list."""
    return _parsed(f"[{text}]" if "," in text and text[0] not in "[{'\"" else text)


def _parsed(text: str) -> Any:
    try:
        return parse_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # which the field then rejects, unless it takes text
        return text


def _add_positional(syntax: Syntax, words: Sequence[str], tree: dict[str, Any], problems: list[str]) -> None:
    left = list(words)
    for option in syntax.positional:
        if _takes_many(option):
            tree[option.name], left = tuple(left), []
        elif left:
            tree[option.name] = left.pop(0)
        if option.required and not tree.get(option.name):
            problems.append(f"{option.name.upper()} is missing: usage: {syntax.usage}")
            tree[option.name] = ("-",) if _takes_many(option) else "-"  # so that it is not reported again
    if left:
        problems.append(f"unexpected {' '.join(left)}: usage: {syntax.usage}{misplaced_file(left[-1])}")


def _unknown(syntax: Syntax, name: str, text: str | None) -> str:
    for option in syntax.positional:
        if name in (option.flag, option.flag.removesuffix("s")):
            return f"unknown option {name}: give the value alone; usage: {syntax.usage}{misplaced_file(text)}"
    return f"unknown option {name}: {nearest(name, syntax.flags, inner=True)}`{syntax.prog} --help` lists all options"


def _config(syntax: Syntax, tree: dict[str, Any], files: Sequence[Path], problems: list[str]) -> Any:
    """The config that files and options give, whose values are taken out of the tree; None if it is wrong."""
    own = {field.name for field in fields(syntax.kind)}
    given = {name: tree.pop(name) for name in list(tree) if name not in own}
    values: dict[str, Any] = {}
    sources = list(files)
    if tree.get("resume"):
        sources.insert(0, Path(tree["resume"]) / "config.yaml")
        if not sources[0].is_file():
            problems.append(f"resume is {tree['resume']!r}: not a run directory (it has no config.yaml)")
            sources.pop(0)
    for file in sources:
        with noted_in(problems):
            values = _merged(values, read_values(file))
    if str(values.get("start")).startswith("hf-hub:") and not tree.get("resume"):
        problems.append(f"start is {values['start']!r} in a config file: give downloads as --start, or a local file")
    if tree.get("resume") and isinstance(values.get("data"), dict):
        values["data"].pop("download", None)  # downloaded when the run began
    values = _merged(values, given)
    try:
        return validate(syntax.config, values)
    except SkipweaveError as error:
        problems += [*error.problems, *problems_of_unlisted(values)]
    return None


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two trees as one; the second overrides the first."""
    merged = dict(below)
    for name, value in above.items():
        both = isinstance(value, Mapping) and isinstance(below.get(name), Mapping)
        merged[name] = _merged(below[name], value) if both else value
    return merged
