"""Call a plain typed function with what stands on the command line.

Parameters without a default are positional, others are options; `*images: Path` takes one or more words, and a
positional-only `filter: str = "", /` one word or none. A dataclass parameter named `config` is spread out: its fields
are options (`--epochs`, `--model.name`), `--config FILE` reads them from YAML, which options win over, and
`--print_config` writes them. Beside it, a parameter named `resume` reads the settings of the run that it names first.

jsonargparse splits the words and writes the help. Files are not given to it, since it imports what a `class_path` in
them names: they are read as plain values, which the dataclass then checks.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings

from skipweave.cli.help_format import HelpFormatter, hide_groups, own_options
from skipweave.cli.tables import say
from skipweave.config.checks import misplaced_file, nearest
from skipweave.config.typed import build, expected, typed
from skipweave.errors import SkipweaveError, noted_in

# A word is not followed to classes either, but for those that settings are made of.
set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=["skipweave"])


def call(function: Callable[..., int | None], argv: Sequence[str], prog: str) -> int:
    """Parse the words and call the function.

    Args:
        function: a command; its docstring is the help.
        argv: the words after the command.
        prog: the command, as the help calls it.

    Returns:
        What the function returns, 0 for None; or the status of `--help` and `--print_config`.

    Raises:
        SkipweaveError: the words, or the settings in files that they name, do not fit: all mistakes are told; or the
            function raised it.
    """
    signature = inspect.signature(function)
    config = signature.parameters.get("config")
    words = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)]
    parser = _parser(function, prog, config, words)
    try:
        values, problems = _parse(parser, list(argv), get_type_hints(function), defaults=config is None)
    except SystemExit as done:  # after --help
        return int(done.code or 0)
    if config:
        return _call_with_settings(function, config.annotation, values, problems)
    if problems:
        raise SkipweaveError(*problems)
    named = {name: values[name] for name in signature.parameters if name in values}
    positional = [named.pop(p.name) for p in words if p.kind is p.POSITIONAL_ONLY]
    positional += [value for p in words if p.kind is p.VAR_POSITIONAL for value in named.pop(p.name)]
    return function(*positional, **named) or 0


def _call_with_settings(
    function: Callable[..., int | None], kind: type, values: dict[str, Any], problems: list[str]
) -> int:
    """Call a function of settings with those that files and options give, the options on top."""
    from skipweave.config.settings import as_yaml, read_values

    files = [Path(file) for file in values.pop("config", ())]
    show = "print_config" in values and values.pop("print_config") is not None
    rest = {name: values.pop(name) for name in inspect.signature(function).parameters if name in values}
    if rest.get("resume"):
        files.insert(0, rest["resume"] / "config.yaml")
        if not files[0].is_file():
            raise SkipweaveError(*problems, f"not a run folder (it has no config.yaml): {rest['resume']}")
    settings: dict[str, Any] = {}
    for file in files:
        with noted_in(problems):
            settings = _merged(settings, read_values(file))
    if rest.get("resume") and isinstance(settings.get("data"), dict):
        settings["data"].pop("download", None)  # what the run had downloaded is there by now
    config: Any = None
    with noted_in(problems):
        config = build(kind, _merged(settings, values), thorough=True)
    if problems:
        raise SkipweaveError(*problems)
    if show:
        say(as_yaml(config).rstrip("\n"))
        return 0
    return function(config, **rest) or 0


def _merged(under: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two trees of values as one; where both have a value, the upper one's."""
    merged = dict(under)
    for name, value in above.items():
        both = isinstance(value, Mapping) and isinstance(under.get(name), Mapping)
        merged[name] = _merged(under[name], value) if both else value
    return merged


def _parser(
    function: Callable[..., Any], prog: str, config: inspect.Parameter | None, words: Sequence[inspect.Parameter]
) -> ArgumentParser:
    text = parse_docstring(inspect.getdoc(function) or "")
    parser = ArgumentParser(
        prog=prog,
        description=text.description,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=HelpFormatter,
    )
    if config:
        from skipweave.config.settings import add_settings

        parser.add_argument("--config", action="append", help="YAML file of settings; options win over it")
        parser.add_argument("--print_config", nargs="?", help="write the settings as YAML, and end")
        add_settings(parser, config.annotation)
    skip: set[str | int] = {"config"} if config else set()
    skip |= {word.name for word in words if word.kind is word.POSITIONAL_ONLY}
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip=skip)
    for word in words:
        about = next((p.description for p in text.params if p.arg_name == word.name), "")
        number = dict(nargs="+") if word.kind is word.VAR_POSITIONAL else dict(nargs="?", default=word.default)
        parser.add_argument(word.name, type=word.annotation, help=about, **number)
    needed = filter(None, map(_shown, inspect.signature(function).parameters.values()))
    parser.usage = " ".join([prog, *needed, "[OPTIONS]"])
    hide_groups(parser)
    return parser


def _shown(parameter: inspect.Parameter) -> str:
    """A parameter as the usage line shows it: positional ones alone."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        return f"{parameter.name.upper()}..."
    if parameter.kind is parameter.POSITIONAL_ONLY:
        return f"[{parameter.name.upper()}]"
    needed = parameter.default is parameter.empty and parameter.name != "config"
    return parameter.name.upper() if needed else ""


def _parse(
    parser: ArgumentParser, argv: list[str], hints: Mapping[str, Any], *, defaults: bool
) -> tuple[dict[str, Any], list[str]]:
    """Parse words. The parser stops at the first that does not fit: it is told, taken out, and the rest tried again.

    Returns:
        The values of the words that fit, and the problems of the others.
    """
    problems: list[str] = []
    known = own_options(parser)
    if unknown := _unknown_options(known, argv, hints):
        problems += [_told_unknown(parser, known, name, _given(argv, name.removeprefix("--"))) for name in unknown]
        argv = _without(argv, unknown)
    asked, argv = argv, _bracketed(argv, hints)
    while True:
        try:
            return parser.parse_args(argv, defaults=defaults).as_dict(), problems
        except ArgumentError as error:
            line = " ".join(str(error).split())
        found = re.search(r"(?:key \"|argument --)([\w.]+)", line)
        if found and (given := _given(asked, found[1])) is not None:
            problems.append(_told_wrong(found[1], given, hints, line))
            argv = _without(argv, [f"--{found[1]}"])
        else:  # a word too many, or one that is missing, perhaps only for what was taken out
            return {}, problems or [_told_words(parser, line)]


def _bracketed(argv: Sequence[str], hints: Mapping[str, Any]) -> list[str]:
    """The words, with brackets around what is given for a list without them: `--seeds 0,1`."""
    words: list[str] = []
    for word in argv:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        option = option or (words[-1] if words and words[-1].startswith("--") and "=" not in words[-1] else "")
        bare = value and value[0] not in "[{" and value != "null"
        if bare and (
            _is_list(_hint_of(option.removeprefix("--").split("."), hints)) or _is_argument_list(option, value)
        ):
            word = f"{option}=[{value}]" if equals else f"[{value}]"
        words.append(word)
    return words


def _is_argument_list(option: str, value: str) -> bool:
    """Whether several numbers are given for an argument of a model, as in `--model.args.units 1,2`."""
    return ".args." in option.replace("--", ".") and bool(re.fullmatch(r"-?[\d.]+(,-?[\d.]+)+", value))


def _is_list(hint: Any) -> bool:
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return any(get_origin(part) in (list, tuple, Sequence) for part in parts)


def _options(argv: Iterable[str]) -> list[str]:
    return [word.partition("=")[0] for word in argv if word.startswith("--")]


def _unknown_options(known: Sequence[str], argv: Sequence[str], hints: Mapping[str, Any]) -> list[str]:
    """The options that a command does not have; `--model.args.growth` is one of `--model.args`."""
    mappings = tuple(f"{name}." for name in known if _is_mapping(_hint_of(name.removeprefix("--").split("."), hints)))
    return [name for name in _options(argv) if name not in known and not name.startswith(mappings)]


def _is_mapping(hint: Any) -> bool:
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return any(get_origin(part) in (dict, Mapping) for part in parts)


def _told_unknown(parser: ArgumentParser, known: Sequence[str], name: str, given: str | None) -> str:
    for action in parser._get_positional_actions():
        if f"--{action.dest}" in (name, f"{name}s"):
            return f"unknown option {name}: give the value alone, as in `{parser.usage}`{misplaced_file(given)}"
    valid = sorted(option for option in known if option.startswith("--"))
    return f"unknown option {name}: {nearest(name, valid, most=1)}`{parser.prog} --help` lists all"


def _told_words(parser: ArgumentParser, line: str) -> str:
    """What is wrong with words that are no options: too many of them, or too few."""
    kind, _, words = line.rpartition(": ")
    if kind.endswith("required"):
        return f"{words.upper()} is missing: expected `{parser.usage}`"
    if kind.endswith("unrecognized arguments"):
        return f"unexpected {words}: expected `{parser.usage}`{misplaced_file(words.split()[-1])}"
    return line


def _given(argv: Sequence[str], name: str) -> str | None:
    """What stands for an option, nothing where a value is missing; None where the option is not there."""
    for word, following in zip(argv, [*argv, ""][1:], strict=True):
        option, equals, value = word.partition("=")
        if f"{option}.".startswith(f"--{name}."):
            return value if equals or following.startswith("--") else following
    return None


def _without(argv: Sequence[str], options: Sequence[str]) -> list[str]:
    """The words without some options and what is given for them."""
    kept: list[str] = []
    drop = False
    for word in argv:
        if word.startswith("--"):
            name, equals, _ = word.partition("=")
            gone = any(f"{name}.".startswith(f"{option}.") for option in options)
            drop = gone and not equals
            if gone:
                continue
        elif drop:
            drop = False
            continue
        kept.append(word)
    return kept


def _told_wrong(name: str, given: str, hints: Mapping[str, Any], line: str) -> str:
    """What is wrong with the value of an option, in the words that mistakes in files are told in."""
    hint = _hint_of(name.split("."), hints)
    if hint is None:
        return line
    if not given:
        return f"{name} has no value: expected {'a YAML file' if name == 'config' else expected(hint)}"
    try:
        typed(hint, given, name)
    except SkipweaveError as error:
        return str(error)
    return f"{name} is {given!r}: expected {expected(hint)}"


def _hint_of(names: Sequence[str], hints: Mapping[str, Any]) -> Any:
    """The type of an option: of a parameter, or of a field of the settings."""
    hints = {**hints, **(get_type_hints(hints["config"]) if "config" in hints else {})}
    for name in names[:-1]:
        hints = get_type_hints(hints[name]) if is_dataclass(hints.get(name)) else {}
    return hints.get(names[-1])
