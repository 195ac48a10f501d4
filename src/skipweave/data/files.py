"""Image files: find them and read them as tensors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms.v2.functional import pil_to_tensor

from skipweave.errors import SkipweaveError

EXTENSIONS: tuple[str, ...] = IMG_EXTENSIONS
_MODES = {1: "L", 3: "RGB"}


def open_image(path: str | Path, in_chans: int) -> Tensor:
    """Read an image upright (its EXIF orientation applied) and in the channels that a network takes.

    Args:
        path: a file of any format that Pillow reads.
        in_chans: 1 for grey, 3 for colour; the image is converted.

    Returns:
        The pixels: uint8, CHW.

    Raises:
        SkipweaveError: the file is missing, is not an image, is damaged, or `in_chans` is neither 1 nor 3.
    """
    if in_chans not in _MODES:
        raise SkipweaveError(f"image files can be read with 1 channel (grey) or 3 (colour), not {in_chans}")
    with open_upright(path) as image:
        return pil_to_tensor(_eight_bits(image).convert(_MODES[in_chans]))


@contextmanager
def open_upright(path: str | Path) -> Iterator[Image.Image]:
    """Open an image file, its EXIF orientation applied, for reading in a `with` block.

    Raises:
        SkipweaveError: the file is missing, is not an image or is damaged, which may show within the block only.
    """
    try:
        with Image.open(path) as image:
            yield ImageOps.exif_transpose(image)
    except SkipweaveError:
        raise
    except FileNotFoundError:
        raise SkipweaveError(f"no such image file: {path}") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SkipweaveError(f"not a readable image (damaged, or of another format): {path} ({reason})") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey values, which Pillow would cut off at 255."""
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixels, whose range is not known: save it with 8 or 16 bits")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image


def is_image(path: str | Path) -> bool:
    """Whether a file's name is that of an image: an accepted extension, and not hidden."""
    name = Path(path).name.lower()
    return name.endswith(EXTENSIONS) and not name.startswith(".")


def list_images(place: Path) -> list[Path]:
    """List the images that a path names.

    Args:
        place: a file, taken as it is, or a folder, searched with its sub-folders.

    Returns:
        The files in natural order (img2 before img10).

    Raises:
        SkipweaveError: the path does not exist, or the folder holds no image.
    """
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise SkipweaveError(f"no such file or folder: {place}")
    found = sorted((path for path in place.rglob("*") if path.is_file() and is_image(path)), key=_natural)
    if not found:
        raise SkipweaveError(f"no image in {place}: expected files that end in {', '.join(EXTENSIONS)}")
    return found


def _natural(path: Path) -> tuple[list[list[int | str]], str]:
    """Order by the numbers within names; a regular split puts digits at odd places only, so types always agree."""
    parts = [
        [int(piece) if place % 2 else piece.lower() for place, piece in enumerate(re.split(r"(\d+)", part))]
        for part in path.parts
    ]
    return parts, str(path)
