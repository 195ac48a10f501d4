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
    if there := [str(path) for path in paths if path.exists()]:
        raise SkipweaveError(f"{', '.join(there)} exists already: choose another {option}")
    for folder in dict.fromkeys(path.parent for path in paths):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SkipweaveError(f"cannot make the directory {folder}: {error.strerror}") from error
        if not os.access(folder, os.W_OK):
            raise SkipweaveError(f"cannot write to the directory {folder}: choose another {option}")
