"""Checks of the arguments that several transforms have in common."""

from collections.abc import Collection, Iterator

from skipweave_config.errors import SkipweaveError
from skipweave_config.integers import is_integer


def check_flags(**flags: object) -> None:
    """Check that arguments are True or False.

    Raises:
        SkipweaveError: Some are not; names all of them.

    >>> check_flags(windowed=True, strided="no")
    Traceback (most recent call last):
    skipweave_config.errors.SkipweaveError: strided is 'no': expected True or False
    """
    if problems := [*wrong_flags(**flags)]:
        raise SkipweaveError(*problems)


def wrong_flags(**flags: object) -> Iterator[str]:
    """Yield a message for each argument that is neither True nor False."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            yield f"{name} is {value!r}: expected True or False"


def check_seed(seed: object) -> None:
    """Check the seed of random links.

    Raises:
        SkipweaveError: It is not an integer of at least 0.
    """
    if not is_integer(seed, 0):
        raise SkipweaveError(f"seed is {seed!r}: expected an integer of at least 0")


def check_names(argument: str, names: object) -> None:
    """Check that an argument is a list of names.

    Raises:
        SkipweaveError: It is a single name, or has something else than names.
    """
    several = isinstance(names, Collection) and not isinstance(names, str)
    if not several or not all(isinstance(name, str) for name in names):  # type: ignore[attr-defined]
        raise SkipweaveError(f"{argument} is {names!r}: expected a list of names")
