"""Tell every wrong value of a settings class in one message."""

import difflib
from collections.abc import Sequence

from skipweave.errors import SkipweaveError


def nearest(name: str, valid: Sequence[str], most: int = 3) -> str:
    """`did you mean ...? ` for the closest valid names, or nothing when none is close."""
    near = difflib.get_close_matches(name, valid, n=most, cutoff=0.5)
    return f"did you mean {', '.join(near)}? " if near else ""


def misplaced_file(value: object) -> str:
    """What to do with a file of settings that stands where something else is expected; nothing for other values."""
    if not str(value).endswith((".yaml", ".yml")):
        return ""
    return f"; a file of settings is given to `skipweave fit` or `skipweave study` by `--config {value}`"


def refuse(*problems: str | None) -> None:
    """Raise one error that lists the problems; None is none."""
    found = [problem for problem in problems if problem]
    if found:
        raise SkipweaveError(*found)


def unless(right: bool, problem: str) -> str | None:
    """The problem, unless all is right."""
    return None if right else problem


def unknown(what: str, value: str, valid: Sequence[str]) -> str | None:
    """The problem that a name is none of the valid ones, unless it is."""
    return unless(value in valid, f"unknown {what} {value!r}: {nearest(value, valid)}valid: {', '.join(valid)}")
