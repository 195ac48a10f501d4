"""Run directories between machines that share no storage."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Contents of the files of run directories, by path.
Copy = dict[str, bytes]


@contextmanager
def shared_mark(folder: Path) -> Iterator[Path]:
    """A file in a directory, while the block runs, by which other machines know whether they share it."""
    mark = folder.resolve() / f".seen_by_workers_{uuid.uuid4().hex}"
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


def sees(mark: Path) -> bool:
    """Whether this machine shares the directory of the mark."""
    return mark.exists()


def pack(place: Path) -> Copy:
    """The run directories in a directory; what is being made or replaced, whose name begins with a dot, is left out."""
    names = (path.relative_to(place) for path in place.glob("*/**/*") if path.is_file())
    return {name.as_posix(): (place / name).read_bytes() for name in names if not _is_hidden(name)}


def _is_hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)


def unpack(copy: Copy, place: Path) -> None:
    """Write run directories in the place of those of the same names.

    A process that is killed meanwhile leaves the old or the new directory, or both.
    """
    partial = place / f".{uuid.uuid4().hex}.partial"
    partial.mkdir(parents=True)
    try:
        for name, content in copy.items():
            file = partial / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        for new in partial.iterdir():
            replaced = place / f".{new.name}.{uuid.uuid4().hex}.partial"
            if (place / new.name).exists():
                (place / new.name).rename(replaced)
            new.rename(place / new.name)
            shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
