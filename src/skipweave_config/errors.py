"""What ends a command before its end: a mistake of the user's, or a signal."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class SkipweaveError(ValueError):
    """A mistake, or several, in what the user gave: it names the value, what was expected, and what to do.

    The command line prints the message, a line a mistake, without a traceback, and exits with status 2.

    Args:
        *problems: the mistakes, each in words.

    Attributes:
        problems: the same.

    >>> str(SkipweaveError("epochs is 0", "lr is -1"))
    'epochs is 0; lr is -1'
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@contextmanager
def noted_in(problems: list[str]) -> Iterator[None]:
    """Add the mistakes that the block tells of to a list, so that what comes after it is checked too.

    >>> problems = []
    >>> with noted_in(problems):
    ...     raise SkipweaveError("epochs is 0", "lr is -1")
    >>> problems
    ['epochs is 0', 'lr is -1']
    """
    try:
        yield
    except SkipweaveError as error:
        problems += error.problems


class Stopped(SystemExit):
    """A signal asked to stop, and what was being done has been saved. Uncaught it ends Python without a traceback.

    Args:
        number: of the signal.
        message: one line that tells how to go on; empty in processes that leave the telling to another.

    Attributes:
        code: 128 + the number, the exit status by which shells and schedulers know the signal: 143 after SIGTERM, 130
            after SIGINT, 138 after SIGUSR1 (on Linux).
    """

    code: int

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal.Signals(number)
        self.code = 128 + number
