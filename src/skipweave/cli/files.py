"""Files that a command is asked to write."""

from collections.abc import Iterable
from pathlib import Path

from skipweave.errors import SkipweaveError


def refuse_existing(paths: Iterable[Path]) -> None:
    """Refuse to write over what exists.

    Raises:
        SkipweaveError: one of the files exists already.
    """
    if there := [str(path) for path in paths if path.exists()]:
        raise SkipweaveError(f"{', '.join(there)} exists already: choose another --save")


def pictures(prefix: Path) -> tuple[Path, Path]:
    """The files that `skipweave.analysis.draw.save` writes for a prefix."""
    return prefix.with_name(prefix.name + ".png"), prefix.with_name(prefix.name + ".svg")
