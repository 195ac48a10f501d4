"""What ends a command before its end: a mistake of the user's, or a signal."""

import signal


class SkipweaveError(ValueError):
    """A mistake in what the user gave: the message names the value, what was expected, and what to do.

    The command line prints the message in one line, without a traceback, and exits with status 2.
    """


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
