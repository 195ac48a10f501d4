"""Exclusive use of a directory by one process: a lock of the kernel, released when the process ends in any way."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skipweave_config.errors import SkipweaveError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PATIENCE = 10.0  # seconds; a process that was killed may still be ending, one whose parent was may be in a step
_held: set[int] = set()


@contextmanager
def held(folder: Path, patience: float = _PATIENCE) -> Iterator[None]:
    """Lock a directory while the block runs.

    Does nothing if directories cannot be locked, as on some network file systems.

    Raises:
        SkipweaveError: Another process keeps it locked.
    """
    descriptor = _lock(folder, time.monotonic() + patience) if fcntl else None
    if descriptor is None:
        yield
        return
    _held.add(descriptor)
    try:
        yield
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Whether another process of this machine, or of one that shares its locks, has locked a directory."""
    try:
        with held(folder, patience=0):
            return False
    except SkipweaveError:
        return True


def _lock(folder: Path, deadline: float) -> int | None:
    """An open, locked directory; None if it cannot be locked."""
    descriptor = os.open(folder, os.O_RDONLY)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(descriptor)
                return None
        if time.monotonic() > deadline:
            os.close(descriptor)
            raise SkipweaveError(f"{folder} is in use by another process: wait for it to end, or stop it")
        time.sleep(0.05)


def _forget() -> None:
    """Close inherited locks in a forked process, such as a data loading worker."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
