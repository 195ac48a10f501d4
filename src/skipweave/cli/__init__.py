"""The command line: `skipweave COMMAND ...`. Only the chosen command's module is imported."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from skipweave.errors import SkipweaveError, Stopped
from skipweave.files.printable import printable

#: Command: the function that does it, and what it does.
COMMANDS = {
    "models": ("skipweave.cli.inspect:models", "list the networks"),
    "show": ("skipweave.cli.inspect:show", "size, cost and connections of a network, with pictures"),
    "ledger": ("skipweave.cli.inspect:ledger", "the papers' printed figures beside those of the networks here"),
    "check-data": ("skipweave.cli.check_data:check_data", "read a data set through, and list what is wrong with it"),
    "fit": ("skipweave.cli.train:fit", "train a network, or continue a run"),
    "validate": ("skipweave.cli.train:on_validation", "errors of a run on its validation images"),
    "test": ("skipweave.cli.train:on_test", "errors of a run on its test images"),
    "exits": ("skipweave.cli.exits:exits", "cost and error of each exit of a run's network, with pictures"),
    "plot": ("skipweave.cli.plot:plot", "plots of the connections and link weights of a network"),
    "prune-links": ("skipweave.cli.prune_links:prune_links", "take the weakest links out of a run's network"),
    "predict": ("skipweave.cli.train:predict", "classes, or label maps, of images or folders of images"),
    "export": ("skipweave.cli.export:export", "a run's network as ONNX, or as timm and the Hugging Face hub know it"),
    "study": ("skipweave.cli.study:study", "train and compare several networks, with a report"),
    "bench": ("skipweave.cli.bench:bench", "how fast networks are beside others, in turns"),
    "env": ("skipweave.cli.env:env", "versions, processor, and how channel-sparse convolutions are computed here"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: what follows `skipweave`; by default that of this process.

    Returns:
        The exit status: 0; 2 after mistakes of the user's, told on stderr, a line each, or where a file cannot be
        read or written; 143, 130 or 138 after a SIGTERM, SIGINT or SIGUSR1, of which training tells how to go on.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        print(f"skipweave {version('skipweave')}")
        return 0
    try:
        return _run(words[0], words[1:])
    except SkipweaveError as error:
        print(_told(error), file=sys.stderr)
        return 2
    except Stopped as stop:
        if str(stop):
            print(printable(f"skipweave: {stop}"), file=sys.stderr)
        return stop.code
    except OSError as error:  # a disk that is full or read-only, a file that is gone
        print(_told(SkipweaveError(f"{error.filename or words[0]}: {error.strerror or error}")), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("skipweave: stopped", file=sys.stderr)
        return 130


def _run(command: str, argv: list[str]) -> int:
    if command not in COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise SkipweaveError(f"unknown command {command!r}: {hint}commands: {', '.join(COMMANDS)}")
    from skipweave.cli.parsing import call

    module, function = COMMANDS[command][0].split(":")
    return call(getattr(import_module(module), function), argv, prog=f"skipweave {command}")


def _told(error: SkipweaveError) -> str:
    """One line a problem; what a file put into it cannot steer the terminal."""
    plain = (" ".join(problem.split()) for problem in error.problems)
    lines = [printable(line) for line in plain]
    if len(lines) == 1:
        return f"skipweave: error: {lines[0]}"
    return "\n- ".join([f"skipweave: error: {len(lines)} mistakes:", *lines])


def _overview() -> str:
    lines = [f"  {command:<13}{what}" for command, (_, what) in COMMANDS.items()]
    return "\n".join(["usage: skipweave COMMAND [OPTIONS]", "", *lines, "", "skipweave COMMAND --help tells more."])
