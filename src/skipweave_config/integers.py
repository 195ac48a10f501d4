"""Integers, Python's and numpy's, as arguments."""

from numbers import Integral
from typing import TypeGuard


def is_integer(value: object, least: int | None = None) -> TypeGuard[int]:
    """Whether a value is an integer, also one of numpy, but not True or False, and not below `least`.

    >>> [is_integer(value, 0) for value in (3, -3, 3.0, True, "3")]
    [True, False, False, False, False]
    """
    return isinstance(value, Integral) and not isinstance(value, bool) and (least is None or int(value) >= least)
