"""Sizes of memory as people write them."""

import re

from skipweave.errors import SkipweaveError

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def parse_bytes(text: int | str) -> int:
    """A number of bytes such as 8GiB, 500MB or 1000000.

    Raises:
        SkipweaveError: It is none.

    >>> parse_bytes("1.5GiB") == 3 * 2**29
    True
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]i?)?B?", str(text).strip())
    size = round(float(found[1]) * _UNITS[found[2] or ""]) if found else 0
    if size < 1:
        raise SkipweaveError(f"{text!r} is no size: expected one such as 8GiB or 500MB")
    return size


def is_size(text: int | str) -> bool:
    """Whether it is one."""
    try:
        return parse_bytes(text) > 0
    except SkipweaveError:
        return False
