"""Hints for names and values that are almost right."""

import difflib
from collections.abc import Iterable


def nearest(name: object, valid: Iterable[str], most: int = 1, *, inner: bool = False) -> str:
    """`did you mean X? ` for the closest valid names, or an empty string if none is close.

    Args:
        name: The wrong name.
        valid: Valid names.
        most: Number of names at most.
        inner: Whether names of which it is the last part, such as `--optim.lr` of `--lr`, are the closest ones.

    >>> nearest("Epoch", ["seed", "epochs"])
    'did you mean epochs? '
    >>> nearest("--lr", ["--optim.lr", "--seed"], inner=True)
    'did you mean --optim.lr? '
    """
    valid = list(valid)
    last = str(name).lower().lstrip("-").rpartition(".")[2]
    if inner and (named := [one for one in valid if one.lstrip("-").rpartition(".")[2] == last]):
        return f"did you mean {' or '.join(named)}? "
    near = difflib.get_close_matches(str(name).lower(), list(valid), n=most, cutoff=0.5)
    return f"did you mean {', '.join(near)}? " if near else ""


def one_edit_apart(name: str, other: str) -> bool:
    """Whether two names differ by a missing, additional, other or swapped letter, or not at all.

    >>> [one_edit_apart(name, "group") for name in ("groups", "gruop", "grup", "patient")]
    [True, True, True, False]
    """
    start = _common(name, other)
    end = _common(name[start:][::-1], other[start:][::-1])
    ours, theirs = name[start : len(name) - end], other[start : len(other) - end]
    return max(len(ours), len(theirs)) <= 1 or (len(ours) == 2 and ours == theirs[::-1])


def _common(name: str, other: str) -> int:
    """Length of the common start of two names."""
    letters = zip(name, other, strict=False)
    return next((place for place, (ours, theirs) in enumerate(letters) if ours != theirs), min(len(name), len(other)))


def misplaced_file(value: object) -> str:
    """Advice on a config file given where another value is expected; an empty string for other values."""
    if not str(value).endswith((".yaml", ".yml")):
        return ""
    return f"; pass a config file to `skipweave fit` or `skipweave study` as `--config {value}`"
