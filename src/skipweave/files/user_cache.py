"""The folder of what is measured or compiled once per machine."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Folder `skipweave` in XDG_CACHE_HOME, or in `~/.cache`."""
    folder = os.environ.get("XDG_CACHE_HOME")
    return (Path(folder) if folder else Path.home() / ".cache") / "skipweave"
