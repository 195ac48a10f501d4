"""Atomic writing of files: after a kill at any moment, a file is complete, old or new."""

import csv
import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from skipweave_config.errors import SkipweaveError

_SUFFIX = ".partial"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same directory; the file written there is synced and takes the final name.

    `path` is unchanged if the block raises.
    """
    temporary = path.with_name(path.name + _SUFFIX)
    try:
        temporary.touch()
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        if error.filename is None or Path(error.filename) == temporary:  # writing itself does not report where
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with suppress(OSError):  # it has its name, or its folder is gone or read-only
            temporary.unlink()


def write_text(path: Path, text: str, errors: str = "backslashreplace") -> None:
    """Write a text file atomically.

    Args:
        path: the file to write or to replace.
        text: its content.
        errors: what becomes of signs that no encoding has, as in names of files that are not UTF-8.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=errors)


def write_together(writers: Mapping[Path, bytes | Callable[[Path], object]]) -> None:
    """Write files that belong together: all are written before the first takes its name, and old ones are removed.

    Args:
        writers: By path, the content or a function that writes the file to a given temporary path; in the order of the
            final renaming.
    """
    with ExitStack() as stack:
        for path, write in reversed(list(writers.items())):  # a stack is unwound from its end
            temporary = stack.enter_context(replacing(path))
            if isinstance(write, bytes):
                temporary.write_bytes(write)
            else:
                write(temporary)
            sync(temporary)
        for path in writers:
            path.unlink(missing_ok=True)  # after a kill no file belongs to others than the next


def as_csv(rows: Iterable[Iterable[object]]) -> str:
    r"""The text of a CSV file.

    >>> as_csv([("file", "problem"), ("a,b.png", None)])
    'file,problem\n"a,b.png",\n'
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def keep_as(path: Path, copy: Path) -> None:
    """Keep the file at `path` also as `copy`."""
    with replacing(copy) as temporary:
        temporary.unlink()
        try:
            os.link(path, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, temporary)


def refuse_links(folder: Path) -> None:
    """Check that a directory to be written to has no symbolic links in it: they may lead anywhere.

    Raises:
        SkipweaveError: It has.
    """
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if (path := Path(place, name)).is_symlink():
                raise SkipweaveError(f"{path} is a symbolic link: nothing is written to a directory with links")


def remove_partial(folder: Path, names: Iterable[str] = ("",)) -> None:
    """Remove files that a killed process had not finished, of these names or of all."""
    for name in names:
        for partial in folder.glob(f"{name}*{_SUFFIX}"):
            partial.unlink(missing_ok=True)  # several processes of one run do this


def sync(path: Path) -> None:
    """Sync a file, or the entries of a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
