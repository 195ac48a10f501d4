"""Exceptions: mistakes of the user, and signals."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class SkipweaveError(ValueError):
    """One or more mistakes of the user. Messages name the value, what is expected and what to do.

    The command line prints one line per mistake, without a traceback, and exits with status 2.

    Args:
        *problems: Messages, one per mistake.

    Attributes:
        problems: The messages.

    >>> str(SkipweaveError("epochs is 0", "lr is -1"))
    'epochs is 0; lr is -1'
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@contextmanager
def noted_in(problems: list[str], field: str = "") -> Iterator[None]:
    """Append the problems of a SkipweaveError raised in the block to a list, so that later checks run too.

    Args:
        problems: The list.
        field: Name of the field that the problems are of, put in front of them.

    >>> problems = []
    >>> with noted_in(problems):
    ...     raise SkipweaveError("epochs is 0", "lr is -1")
    >>> problems
    ['epochs is 0', 'lr is -1']
    """
    try:
        yield
    except SkipweaveError as error:
        problems += [f"{field}: {problem}" if field else problem for problem in error.problems]


class Stopped(SystemExit):
    """A signal stopped the run after its state was saved. Uncaught, it ends Python without a traceback.

    Args:
        number: Number of the signal.
        message: How to resume, in one line; empty in processes other than the first.

    Attributes:
        code: Exit status 128 + number, as of shells: 143 after SIGTERM, 130 after SIGINT, 138 after SIGUSR1 (on Linux).
    """

    code: int

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal.Signals(number)
        self.code = 128 + number
