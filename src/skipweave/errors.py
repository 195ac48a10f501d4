"""The one exception that a user of skipweave can cause."""


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
