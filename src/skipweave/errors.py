"""The one exception that a user of skipweave can cause."""


class SkipweaveError(ValueError):
    """A mistake in what the user gave: the message names the value, what was expected, and what to do.

    The command line prints the message in one line, without a traceback, and exits with status 2.
    """
