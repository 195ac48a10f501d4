"""The command line: `skipweave COMMAND ...`. Help and mistakes are printed without importing skipweave, or torch."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from skipweave_cli.output import write_out
from skipweave_config.errors import SkipweaveError, Stopped
from skipweave_config.extras import require_extra
from skipweave_config.hints import nearest
from skipweave_config.printable import printable


class Command(NamedTuple):
    """A command: its summary, its options in `skipweave_cli.options`, and its function in `skipweave_cli.commands`."""

    summary: str
    options: str
    function: str


COMMANDS = {
    "models": Command("list the models", "ModelsOptions", "models:models"),
    "show": Command("size, cost and connections of a model, with figures", "ShowOptions", "show:show"),
    "ledger": Command("published figures beside those of the models here", "LedgerOptions", "ledger:ledger"),
    "check-data": Command("read a dataset and list what is wrong with it", "CheckDataOptions", "check_data:check_data"),
    "fit": Command("train a model, or resume a run", "FitOptions", "fit:fit"),
    "find-lr": Command("find a learning rate by a short range test", "FindLrOptions", "find_lr:find_lr"),
    "validate": Command("evaluate a run on its validation images", "EvaluateOptions", "evaluate:validate"),
    "test": Command("evaluate a run on its test images", "EvaluateOptions", "evaluate:test"),
    "exits": Command("cost and error of each exit of a run's model, with figures", "ExitsOptions", "exits:exits"),
    "plot": Command("plots of the connections and link weights of a network", "PlotOptions", "plot:plot"),
    "prune-links": Command(
        "remove the links of smallest weight from a run's model", "PruneLinksOptions", "prune_links:prune_links"
    ),
    "predict": Command("predict the classes or segmentation masks of images", "PredictOptions", "predict:predict"),
    "export": Command("export a trained model to ONNX, timm or the Hugging Face Hub", "ExportOptions", "export:export"),
    "publish": Command("measure a run's model and write it as pretrained weights", "PublishOptions", "publish:publish"),
    "study": Command("train and compare several models, with a report", "StudyOptions", "study:study"),
    "study plan": Command("write the plan of a study, for any scheduler", "StudyPlanOptions", "study_runs:plan"),
    "study run": Command("do one run of a study's plan", "StudyRunOptions", "study_runs:run"),
    "study status": Command("list the runs of a study and how far they are", "StudyStatusOptions", "study_runs:status"),
    "bench": Command("measure the speed of models beside others", "BenchOptions", "bench:bench"),
    "env": Command("versions, processor, and implementation of channel-sparse convolutions", "EnvOptions", "env:env"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Arguments after `skipweave`; those of this process by default.

    Returns:
        The exit status: 0; 2 after mistakes of the user, printed to stderr one per line, or if a file cannot be read or
        written; 143, 130 or 138 after a SIGTERM, SIGINT or SIGUSR1.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        write_out(_overview())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        write_out(f"skipweave {version('skipweave')}")
        return 0
    try:
        return _run(*_command_and_rest(words))
    except SkipweaveError as error:
        print(_message(error), file=sys.stderr)
        return 2
    except Stopped as stop:
        if str(stop):
            print(printable(f"skipweave: {stop}"), file=sys.stderr)
        return stop.code
    except OSError as error:  # a full or read-only disk, a file that disappeared
        print(_message(SkipweaveError(f"{error.filename or words[0]}: {error.strerror or error}")), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("skipweave: stopped", file=sys.stderr)
        return 130


def _command_and_rest(words: list[str]) -> tuple[str, list[str]]:
    """The command, of one word or two, and the words after it."""
    number = 2 if " ".join(words[:2]) in COMMANDS else 1
    return " ".join(words[:number]), words[number:]


def _run(name: str, argv: list[str]) -> int:
    if name not in COMMANDS:
        kind = "option" if name.startswith("-") else "command"
        near = nearest(name, COMMANDS)
        raise SkipweaveError(f"unknown {kind} {name!r}: {near}commands: {', '.join(COMMANDS)}")
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # the search for them takes as long as the rest of start-up
    require_extra("train")
    from skipweave_cli import options
    from skipweave_cli.parser import parse

    command = COMMANDS[name]
    parsed = parse(getattr(options, command.options), argv, prog=f"skipweave {name}")
    if parsed is None:  # after --help or --print_config
        return 0
    module, function = command.function.split(":")
    return getattr(import_module(f"skipweave_cli.commands.{module}"), function)(parsed) or 0


def _message(error: SkipweaveError) -> str:
    """The problems, one per line, without characters that control the terminal."""
    lines = [printable(" ".join(problem.split())) for problem in error.problems]
    if len(lines) == 1:
        return f"skipweave: error: {lines[0]}"
    return "\n- ".join([f"skipweave: error: {len(lines)} problems:", *lines])


def _overview() -> str:
    lines = [f"  {name:<13}{command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: skipweave COMMAND [OPTIONS]", "", *lines, "", "Options: skipweave COMMAND --help"])
