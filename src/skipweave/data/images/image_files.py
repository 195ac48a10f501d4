"""Search for image files in folders."""

import re
from collections.abc import Iterator
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS

from skipweave.data.images import dicom
from skipweave_config.errors import SkipweaveError

EXTENSIONS: tuple[str, ...] = (*IMG_EXTENSIONS, *dicom.ENDINGS)


def is_image(path: str | Path) -> bool:
    """Whether a file name has an accepted extension and is not hidden."""
    name = Path(path).name.lower()
    return name.endswith(EXTENSIONS) and not name.startswith(".")


def walk_files(folder: Path) -> list[Path]:
    """List all files in a folder and its subfolders, ordered by folder, then by name.

    Symbolic links are followed, except to a folder that contains them, so the recursion ends.

    Raises:
        SkipweaveError: A folder cannot be read.
    """
    return sorted(_walk(folder, frozenset()), key=lambda path: (str(path.parent), path.name))


def _walk(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    try:
        identity = (found := folder.stat()).st_dev, found.st_ino
        entries = [] if identity in above else [(entry, entry.is_dir()) for entry in folder.iterdir()]
    except OSError as error:
        raise SkipweaveError(f"cannot read the folder {folder} ({error.strerror})") from error
    for entry, is_folder in entries:
        if is_folder:
            yield from _walk(entry, above | {identity})
        else:
            yield entry


def list_images(place: Path) -> list[Path]:
    """List the images of a path.

    Args:
        place: File, returned as it is, or folder, searched with its subfolders.

    Returns:
        The files in natural order (img2 before img10).

    Raises:
        SkipweaveError: The path does not exist, or the folder has no image.
    """
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise SkipweaveError(f"no such file or folder: {place}")
    found = sorted(filter(is_image, walk_files(place)), key=_natural)
    if not found:
        raise SkipweaveError(f"no image in {place}: expected files that end in {', '.join(EXTENSIONS)}")
    return found


def _natural(path: Path) -> tuple[list[list[int | str]], str]:
    """Sort key by the numbers within names; the split puts digits at odd places only, so types always agree."""
    parts = [
        [int(piece) if place % 2 else piece.lower() for place, piece in enumerate(re.split(r"(\d+)", part))]
        for part in path.parts
    ]
    return parts, str(path)
