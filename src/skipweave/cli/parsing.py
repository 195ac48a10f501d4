"""Call a plain typed function with what stands on the command line.

Parameters without a default are positional, others are options; `*images: Path` takes one or more words, and a
positional-only `filter: str = "", /` one word or none. A dataclass parameter named `config` is spread out: its fields
are options (`--epochs`, `--model.name`), and `--config FILE` reads them from YAML. Beside it, a parameter named
`resume` reads the settings of the run that it names first.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentError, ArgumentParser

from skipweave.errors import SkipweaveError


def call(function: Callable[..., int | None], argv: Sequence[str], prog: str) -> int:
    """Parse the words and call the function.

    Args:
        function: a command; its docstring is the help.
        argv: the words after the command.
        prog: the command, as the help calls it.

    Returns:
        What the function returns, 0 for None; or the status of `--help` and `--print_config`.

    Raises:
        SkipweaveError: the words do not fit, or the function raised it.
    """
    signature = inspect.signature(function)
    config = signature.parameters.get("config")
    words = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)]
    parser = _parser(function, prog, config, words)
    try:
        values = parser.parse_args(_with_settings_of_run(list(argv)) if config else list(argv))
    except ArgumentError as error:
        raise SkipweaveError(_explain(str(error), parser, prog)) from error
    except SystemExit as done:  # after --help or --print_config
        return int(done.code or 0)
    named = {name: values[name] for name in signature.parameters if name in values and name != "config"}
    if config:
        from skipweave.training.settings import build

        named["config"] = build(config.annotation, values)
    positional = [named.pop(p.name) for p in words if p.kind is p.POSITIONAL_ONLY]
    positional += [value for p in words if p.kind is p.VAR_POSITIONAL for value in named.pop(p.name)]
    return function(*positional, **named) or 0


def _parser(
    function: Callable[..., Any], prog: str, config: inspect.Parameter | None, words: Sequence[inspect.Parameter]
) -> ArgumentParser:
    text = parse_docstring(inspect.getdoc(function) or "")
    parser = ArgumentParser(prog=prog, description=text.description, exit_on_error=False, allow_abbrev=False)
    if config:
        from skipweave.training.settings import add_settings

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
    return parser


def _shown(parameter: inspect.Parameter) -> str:
    """A parameter as the usage line shows it: positional ones alone."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        return f"{parameter.name.upper()}..."
    if parameter.kind is parameter.POSITIONAL_ONLY:
        return f"[{parameter.name.upper()}]"
    needed = parameter.default is parameter.empty and parameter.name != "config"
    return parameter.name.upper() if needed else ""


def _with_settings_of_run(argv: list[str]) -> list[str]:
    """Put `--config DIR/config.yaml` before the words if `--resume DIR` is among them."""
    for word, following in zip(argv, [*argv, ""][1:], strict=True):
        name, _, given = word.partition("=")
        if name == "--resume":
            settings = Path(given or following) / "config.yaml"
            if not settings.is_file():
                raise SkipweaveError(f"not a run folder (it has no config.yaml): {settings.parent}")
            return ["--config", str(settings), *argv]
    return argv


def _explain(message: str, parser: ArgumentParser, prog: str) -> str:
    """One line, with the nearest valid name where a name is wrong."""
    line = " ".join(message.split())
    unknown = re.search(r"unrecognized arguments: (\S+)|[Oo]ption '([^']+)' is not accepted", line)
    if unknown:
        name = "--" + (unknown[1] or unknown[2]).lstrip("-").partition("=")[0]
        valid = sorted(option for option in parser._option_string_actions if option.startswith("--"))
        near = get_close_matches(name, valid, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"unknown option {name}: {hint}`{prog} --help` lists all"
    return re.sub(r"Parser key \"([^\"]+)\": |a <class '(\w+)'>", lambda m: f"{m[1]}: " if m[1] else m[2], line)
