"""Output files of commands."""

import os
from collections.abc import Iterable
from pathlib import Path

from skipweave_config.errors import SkipweaveError


def make_room(paths: Iterable[Path], option: str = "--save") -> None:
    """Make the directories of output files before the work starts. Existing files are not overwritten.

    Raises:
        SkipweaveError: One of the files exists already, or its directory cannot be made or written to.
    """
    paths = list(paths)
    check_room(paths, option)
    for folder in dict.fromkeys(path.parent for path in paths):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SkipweaveError(f"cannot make the directory {folder}: {error.strerror}") from error
        if not os.access(folder, os.W_OK):
            raise SkipweaveError(f"cannot write to the directory {folder}: choose another {option}")


def check_room(paths: Iterable[Path], option: str = "--save") -> None:
    """Check that output files do not exist, and that their directories are none of files.

    Raises:
        SkipweaveError: One exists already, or a file has the name of its directory.
    """
    paths = list(paths)
    if there := [str(path) for path in paths if path.exists()]:
        raise SkipweaveError(f"{', '.join(there)} exists already: choose another {option}")
    for folder in dict.fromkeys(path.parent for path in paths):
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        if not existing.is_dir():
            raise SkipweaveError(f"cannot make the directory {folder}: {existing} is a file; choose another {option}")
