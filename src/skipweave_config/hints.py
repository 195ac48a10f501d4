"""Hints for names and values that are almost right."""

import difflib
from collections.abc import Iterable


def nearest(name: object, valid: Iterable[str], most: int = 1) -> str:
    """`did you mean X? ` for the closest valid names, or an empty string if none is close.

    >>> nearest("Epoch", ["seed", "epochs"])
    'did you mean epochs? '
    """
    near = difflib.get_close_matches(str(name).lower(), list(valid), n=most, cutoff=0.5)
    return f"did you mean {', '.join(near)}? " if near else ""


def misplaced_file(value: object) -> str:
    """Advice on a config file given where another value is expected; an empty string for other values."""
    if not str(value).endswith((".yaml", ".yml")):
        return ""
    return f"; pass a config file to `skipweave fit` or `skipweave study` as `--config {value}`"
