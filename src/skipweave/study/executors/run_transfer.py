"""Run directories between machines that share no storage."""

import io
import shutil
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MARK = ".seen_by_workers_"


@contextmanager
def shared_mark(folder: Path) -> Iterator[Path]:
    """A file in a directory, while the block runs, by which other machines know whether they share it."""
    mark = folder.resolve() / f"{_MARK}{uuid.uuid4().hex}"
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


def sees(mark: Path) -> bool:
    """Whether this machine shares the directory of the mark."""
    return mark.exists()


def pack(place: Path) -> bytes | None:
    """The run directories in a directory as a tar archive; None if there is none.

    Those being made or replaced, whose names begin with a dot, are left out.
    """
    if not any(runs := [path for path in place.glob("[!.]*") if path.is_dir()]):
        return None
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for run in runs:
            archive.add(run, run.name, filter=_finished_files)
    return buffer.getvalue()


def _finished_files(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if any(part.startswith(".") for part in Path(member.name).parts) else member


def unpack(archive: bytes, place: Path) -> None:
    """Write the run directories of an archive, in the place of those of the same names.

    A process that is killed meanwhile leaves the old or the new directory, or both.
    """
    partial = place / f".{uuid.uuid4().hex}.partial"
    partial.mkdir(parents=True)
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            opened.extractall(partial, filter="data")
        for new in partial.iterdir():
            replaced = place / f".{new.name}.{uuid.uuid4().hex}.partial"
            if (place / new.name).exists():
                (place / new.name).rename(replaced)
            new.rename(place / new.name)
            shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
