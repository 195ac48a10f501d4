"""The help of a command, in our words: types as messages call them, and no options but our own."""

from argparse import SUPPRESS, Action
from typing import Any

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from skipweave.config.typed import expected


class HelpFormatter(DefaultHelpFormatter):
    """jsonargparse's, which names types as Python prints them, and lists `--option+` beside `--option`."""

    def _get_type_str(self, action: Action) -> str | None:
        hint: Any = getattr(action, "_typehint", None) or action.type
        return None if hint is None else expected(hint)

    def _format_action_invocation(self, action: Action) -> str:
        every = action.option_strings
        action.option_strings = [name for name in every if not name.endswith("+")]
        try:
            return super()._format_action_invocation(action)
        finally:
            action.option_strings = every


def own_options(parser: ArgumentParser) -> list[str]:
    """The options that a command has, for which jsonargparse itself makes others too (`--seeds+`).

    Call it before anything is parsed: then it adds still others.
    """
    return [name for name in parser._option_string_actions if not name.endswith("+")]


def hide_groups(parser: ArgumentParser) -> None:
    """Leave the options of whole groups, which would be given files, out of the help (`--model` of `--model.name`)."""
    for name, action in parser._option_string_actions.items():
        if any(other.startswith(f"{name}.") for other in parser._option_string_actions):
            action.help = SUPPRESS
