"""Read image files as tensors: whole and unharmed, or not at all.

PNG files carry checksums, which are compared. The other formats carry none: there a damaged byte that leaves a file
well-formed can change pixels unseen, as in every reader.
"""

import mmap
import os
import re
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from skipweave.data.images.high_bit_depth import Kind, deep_values, kind_of
from skipweave.data.images.png_integrity import has_all_rows
from skipweave.errors import SkipweaveError

#: What is tried, whatever a file's name says. Pillow knows more; some of those run other programs.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
MOST_PIXELS = 1 << 27
_MOST_SCANS = 100  # of a JPEG file, where photographs have about ten; each costs as long as the whole image
_SCAN = re.compile(rb"\xff\xda")
_MODES = {1: "L", 3: "RGB"}
# What Pillow warns of in a TIFF file and reads rightly: a tag that holds more values than it uses.
_HARMLESS = "Metadata Warning"


def open_image(path: str | Path, in_chans: int) -> Tensor:
    """Read an image upright (its EXIF orientation applied) and in the channels that a network takes.

    Transparency is ignored: pixels have the colors that the file gives them. Values of more than 8 bits, whole numbers
    or floating-point ones, are read as they stand in the file.

    Args:
        path: a file of one of `FORMATS`, whatever its name.
        in_chans: 1 for gray, 3 for color; the image is converted.

    Returns:
        The pixels, CHW: uint8 if 8 bits a channel hold them, else float32.

    Raises:
        SkipweaveError: the file is missing, is not an image, is damaged, holds several images, above 134 million
            pixels, NaN or infinite values, or `in_chans` is neither 1 nor 3.
    """
    if in_chans not in _MODES:
        raise SkipweaveError(f"image files can be read with 1 channel (gray) or 3 (color), not {in_chans}")
    with _opened(path) as (image, kind):
        if kind.deep:
            tiles = list(image.tile)
            image.load()
            return deep_values(path, image, kind, tiles, in_chans)
        ImageOps.exif_transpose(image, in_place=True)
        return pil_to_tensor(image.convert(_MODES[in_chans]))


def open_alike(path: str | Path, in_chans: int, *, deep: bool) -> Tensor:
    """Read an image as `open_image` does, if it has the depth of the other images of its set.

    Args:
        path: the file.
        in_chans: 1 for gray, 3 for color.
        deep: whether the others have more than 8 bits a channel. One range does not serve both kinds.

    Raises:
        SkipweaveError: it cannot be read, or has another depth.
    """
    image = open_image(path, in_chans)
    if image.is_floating_point() == deep:
        return image
    others = "more than 8 bits" if deep else "8 bits"
    raise SkipweaveError(
        f"{path} holds {read_kind(path)} values, but the training images have {others} a channel, and values of both "
        f"kinds have no common scale: save it as those are, or those as it is"
    )


@contextmanager
def open_upright(path: str | Path) -> Iterator[Image.Image]:
    """Open and load an image file, its EXIF orientation applied, for reading in a `with` block.

    Raises:
        SkipweaveError: the file is missing, is not an image, is damaged, or is one that `open_image` refuses.
    """
    with _opened(path) as (image, _):
        ImageOps.exif_transpose(image, in_place=True)
        yield image


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[ImageFile.ImageFile, Kind]]:
    """Open a file whose head is in order; what reading it in the block raises becomes one line that names it."""
    with _in_our_words(path), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        _check_file(path)
        image, kind = _open_checked(path)
        with image:
            yield image, kind
            _check_directory(image, heard)


class Head(NamedTuple):
    """What an image file says of itself: its size before the EXIF orientation is applied, and Pillow's format name."""

    width: int
    height: int
    format: str


def read_kind(path: str | Path) -> Kind:
    """Read which kind of values an image file holds, from its head.

    Raises:
        SkipweaveError: the file is missing, or has no head of `FORMATS`.
    """
    with _head_of(path) as image:
        return kind_of(image)


def read_head(path: str | Path) -> Head:
    """Read the head of an image file; the image itself is not looked at.

    Raises:
        SkipweaveError: the file is missing, or has no head of `FORMATS`.
    """
    with _head_of(path) as image:
        return Head(image.width, image.height, image.format or "")


def are_deep(paths: Iterable[str | Path]) -> bool:
    """Whether the first image whose head can be read has more than 8 bits a channel; others must be like it."""
    for path in paths:
        try:
            return read_kind(path).deep
        except SkipweaveError:
            continue
    return False


@contextmanager
def _head_of(path: str | Path) -> Iterator[ImageFile.ImageFile]:
    """Open a file to look at its head alone."""
    with _in_our_words(path), warnings.catch_warnings(action="ignore"):
        _check_file(path)
        with Image.open(path, formats=FORMATS) as image:
            yield image


@contextmanager
def _in_our_words(path: str | Path) -> Iterator[None]:
    """Turn whatever reading a file raises into one line that names it."""
    try:
        yield
    except SkipweaveError:
        raise
    except FileNotFoundError:
        raise SkipweaveError(f"no such image file: {path}") from None
    except UnidentifiedImageError as error:
        raise _unreadable(path, _unknown_head(path)) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes
        raise _unreadable(path, str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def _unreadable(path: str | Path, reason: str) -> SkipweaveError:
    return SkipweaveError(f"not a readable image (damaged, or of another format): {path} ({reason})")


def _unknown_head(path: str | Path) -> str:
    """Why Pillow does not know a file by its head."""
    with open(path, "rb") as file:
        if file.read(4) in (b"II*\0", b"MM\0*"):
            return "a TIFF file of other channels or values than are read here: save it with 8 or 16 bits a channel"
    return f"its head is none of {', '.join(FORMATS)}"


def _check_file(path: str | Path) -> None:
    """Refuse what is no file, such as a pipe, which would be waited for, and an empty one."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("a folder, a pipe or a device, not a file")
    if not found.st_size:
        raise ValueError("the file is empty")


def _open_checked(path: str | Path) -> tuple[ImageFile.ImageFile, Kind]:
    """Open a file whose head is in order; of a PNG file checksums and rows too, which Pillow does not look at."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise SkipweaveError("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, which hides damage: leave it False")
    with ExitStack() as if_refused:
        image = if_refused.enter_context(Image.open(path, formats=FORMATS))
        _check_head(image)
        kind = kind_of(image)
        if image.format in ("JPEG", "MPO"):
            _check_scans(path)
        if image.format == "PNG":
            image.verify()
            image = if_refused.enter_context(Image.open(path, formats=("PNG",)))
            _check_rows(path, image)
        if_refused.pop_all()
    return image, kind


def _check_head(image: Image.Image) -> None:
    """Refuse images of no or too many pixels, and files of several images; a photograph's companions (MPO) are none."""
    pixels = image.width * image.height
    if not 0 < pixels <= MOST_PIXELS:
        raise ValueError(
            f"{image.width} x {image.height} pixels: expected 1 to {MOST_PIXELS:,}, since more may be a decompression "
            f"bomb; save it smaller"
        )
    if image.format != "MPO" and (frames := getattr(image, "n_frames", 1)) > 1:
        raise ValueError(f"animated, or of several pages: it holds {frames} images; save the one that is meant alone")


def _check_rows(path: str | Path, image: Image.Image) -> None:
    """Refuse a PNG file that lacks rows: its last one is black then, so that others need not be unpacked again."""
    last = image.crop((0, image.height - 1, image.width, image.height))
    if (image.info.get("interlace") or not np.asarray(last).any()) and not has_all_rows(path):
        raise ValueError("its data end before its last row")


def _check_scans(path: str | Path) -> None:
    """Refuse a JPEG file that paints its image over and over, which takes hours."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        scans = sum(1 for _ in _SCAN.finditer(content))
    if scans > _MOST_SCANS:
        raise ValueError(f"{scans} scans: expected at most {_MOST_SCANS}, since more may be a decompression bomb")


def _check_directory(image: Image.Image, heard: list[warnings.WarningMessage]) -> None:
    """Refuse a TIFF file part of whose directory is lost, of which Pillow only warns."""
    lost = [str(warning.message) for warning in heard if not str(warning.message).startswith(_HARMLESS)]
    if image.format == "TIFF" and lost:
        raise ValueError(f"its directory is damaged: {lost[0]}")
