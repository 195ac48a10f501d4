"""Decoding of image files; damaged files raise.

PNG files have checksums, which are verified. The other formats have none: a damaged byte that leaves such a file
well-formed can change pixels without an error, as in every decoder.
"""

import mmap
import os
import re
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from skipweave.data.images import dicom, multispectral
from skipweave.data.images.high_bit_depth import PixelType, high_bit_depth_pixels, pixel_type_of
from skipweave.data.images.image_header import Header
from skipweave.data.images.png_completeness import has_all_rows
from skipweave_config.errors import SkipweaveError

#: Accepted formats, whatever the file name. Pillow supports more, some of which run external programs.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
MOST_PIXELS = 1 << 27
MOST_CHANNELS = 1024
_MOST_SCANS = 100  # of a JPEG file; photographs have about ten, and each takes as long as the whole image
_SCAN = re.compile(rb"\xff\xda")
_MODES = {1: "L", 3: "RGB"}
# Pillow's warning about a tag with more values than needed, which it decodes correctly.
_HARMLESS = "Metadata Warning"


def open_image(path: str | Path, in_chans: int, *, high_bit_depth: bool | None = None) -> Tensor:
    """Decode an image, apply its EXIF orientation and convert it to gray or color.

    DICOM files need pydicom, TIFF files of other channels than gray and RGB need tifffile. The alpha channel is
    dropped: pixels keep the colors of the file. Values of more than 8 bits, integer or float, are not scaled.

    Args:
        path: File of one of `FORMATS`, whatever its name, or DICOM file.
        in_chans: 1 for gray, 3 for color; otherwise the number of channels of a TIFF file.
        high_bit_depth: Whether the other images of the dataset have more than 8 bits per channel; an image of another
            bit depth raises. None accepts both.

    Returns:
        The pixels, CHW: uint8 for 8 bits per channel, float32 for more.

    Raises:
        SkipweaveError: The file is missing, is not an image, is damaged, holds several images, more than 134 million
            pixels or NaN or infinite values, or has another bit depth or number of channels.
    """
    if not 1 <= in_chans <= MOST_CHANNELS:
        raise SkipweaveError(f"in_chans is {in_chans}: expected 1 (gray), 3 (color), or up to {MOST_CHANNELS:,}")
    if further := _further_format(path):
        return _decode_further(path, further, in_chans, high_bit_depth)
    with _opened(path) as (image, pixel_type):
        _check_bit_depth(path, pixel_type, high_bit_depth)
        if in_chans not in _MODES:
            raise SkipweaveError(f"{path} is a {pixel_type} image: expected a TIFF file of {in_chans} channels")
        if pixel_type.high_bit_depth:
            tiles = list(image.tile)
            image.load()
            return high_bit_depth_pixels(path, image, pixel_type, tiles, in_chans)
        ImageOps.exif_transpose(image, in_place=True)
        return pil_to_tensor(image.convert(_MODES[in_chans]))


def _check_bit_depth(path: str | Path, pixel_type: PixelType, high_bit_depth: bool | None) -> None:
    if high_bit_depth not in (None, pixel_type.high_bit_depth):
        raise SkipweaveError(
            f"{path} has {pixel_type} values, but the training images have "
            f"{'more than 8 bits' if high_bit_depth else '8 bits'} per channel: expected one bit depth"
        )


def _further_format(path: str | Path) -> ModuleType | None:
    """Return the module that decodes a file of a format that Pillow does not decode; None for the other files."""
    with _errors_of(path):
        _check_file(path)
        return dicom if dicom.is_dicom(path) else multispectral if multispectral.is_multispectral(path) else None


def _decode_further(path: str | Path, module: ModuleType, in_chans: int, high_bit_depth: bool | None) -> Tensor:
    """Decode a file by the module of its format, and repeat a gray image for color."""
    with _errors_of(path):
        header, pixel_type = module.describe(path)
        if not 0 < header.width * header.height * max(pixel_type.bands, 1) <= MOST_PIXELS:
            raise ValueError(f"{header.width} x {header.height} pixels: expected 1 to {MOST_PIXELS:,}")
        _check_bit_depth(path, pixel_type, high_bit_depth)
        image: Tensor = module.decode(path)
    if len(image) == 1 and in_chans == 3:
        return image.expand(3, -1, -1)
    if len(image) != in_chans:
        raise SkipweaveError(f"{path} has {len(image)} channels: expected {in_chans}, as data.channels or other images")
    return image


@contextmanager
def open_upright(path: str | Path) -> Iterator[Image.Image]:
    """Open an image file, apply its EXIF orientation, and yield it.

    Raises:
        SkipweaveError: As for `open_image`.
    """
    with _opened(path) as (image, _):
        ImageOps.exif_transpose(image, in_place=True)
        yield image


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[ImageFile.ImageFile, PixelType]]:
    """Open a file with a valid header; errors in the block become a SkipweaveError that names the file."""
    with _errors_of(path), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _check_file(path)
        image, pixel_type = _open_checked(path)
        with image:
            yield image, pixel_type
            _check_directory(image, caught)


def read_pixel_type(path: str | Path) -> PixelType:
    """Read the pixel type of an image file from its header.

    Raises:
        SkipweaveError: The file is missing, or its header is none of `FORMATS`.
    """
    if further := _further_format(path):
        with _errors_of(path):
            return PixelType(*further.describe(path)[1])
    with _opened_header(path) as image:
        return pixel_type_of(image)


def read_header(path: str | Path) -> Header:
    """Read the header of an image file, without decoding the image.

    Raises:
        SkipweaveError: The file is missing, or its header is none of `FORMATS`.
    """
    if further := _further_format(path):
        with _errors_of(path):
            return Header(*further.describe(path)[0])
    with _opened_header(path) as image:
        return Header(image.width, image.height, image.format or "")


def dicom_window(path: str | Path) -> tuple[float, float] | None:
    """Read the window of a DICOM file, (center, width); None if it has none, or the file is another or unreadable."""
    try:
        with _errors_of(path):
            _check_file(path)
            return dicom.window_of(path) if dicom.is_dicom(path) else None
    except SkipweaveError:
        return None


def first_pixel_type(paths: Iterable[str | Path]) -> PixelType:
    """Return the pixel type of the first image with a readable header, or 8-bit RGB; the others must agree."""
    for path in paths:
        try:
            return read_pixel_type(path)
        except SkipweaveError:
            continue
    return PixelType(8, "RGB")


def have_high_bit_depth(paths: Iterable[str | Path]) -> bool:
    """Whether the first image with a readable header has more than 8 bits per channel; the others must agree."""
    return first_pixel_type(paths).high_bit_depth


@contextmanager
def _opened_header(path: str | Path) -> Iterator[ImageFile.ImageFile]:
    """Open a file and read only its header."""
    with _errors_of(path), warnings.catch_warnings(action="ignore"):
        _check_file(path)
        with Image.open(path, formats=FORMATS) as image:
            yield image


@contextmanager
def _errors_of(path: str | Path) -> Iterator[None]:
    """Turn any error in the block into a SkipweaveError that names the file."""
    try:
        yield
    except SkipweaveError:
        raise
    except FileNotFoundError:
        raise SkipweaveError(f"no such image file: {path}") from None
    except UnidentifiedImageError as error:
        raise _unreadable(path, _unknown_header(path)) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes
        raise _unreadable(path, str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def _unreadable(path: str | Path, reason: str) -> SkipweaveError:
    return SkipweaveError(f"not a readable image (damaged, or of another format): {path} ({reason})")


def _unknown_header(path: str | Path) -> str:
    """Describe a header that Pillow does not recognize."""
    if dicom.is_dicom(path):
        return "a DICOM file, as only images may be: save masks as PNG"
    with open(path, "rb") as file:
        if file.read(4) in multispectral.MAGIC:
            return (
                "a TIFF file with unsupported channels or values: save it with 8 or 16 bits per channel; if it has "
                "other channels than gray and RGB, pip install 'skipweave[tiff]'"
            )
    return f"its header is none of {', '.join(FORMATS)}"


def _check_file(path: str | Path) -> None:
    """Raise for an empty file and for anything but a regular file, such as a pipe, on which reading would block."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("not a regular file, but a folder, a pipe or a device")
    if not found.st_size:
        raise ValueError("the file is empty")


def _open_checked(path: str | Path) -> tuple[ImageFile.ImageFile, PixelType]:
    """Open a file and check its header; for PNG also checksums and rows, which Pillow does not check."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise SkipweaveError("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is True, which hides damage: expected False")
    with ExitStack() as on_error:
        image = on_error.enter_context(Image.open(path, formats=FORMATS))
        _check_size(image)
        pixel_type = pixel_type_of(image)
        if image.format in ("JPEG", "MPO"):
            _check_scans(path)
        if image.format == "PNG":
            image.verify()
            image = on_error.enter_context(Image.open(path, formats=("PNG",)))
            _check_rows(path, image)
        on_error.pop_all()
    return image, pixel_type


def _check_size(image: Image.Image) -> None:
    """Raise for images without pixels or with too many, and for files of several images other than MPO."""
    pixels = image.width * image.height
    if not 0 < pixels <= MOST_PIXELS:
        raise ValueError(
            f"{image.width} x {image.height} pixels: expected 1 to {MOST_PIXELS:,}, as more may be a decompression bomb"
        )
    if image.format != "MPO" and (frames := getattr(image, "n_frames", 1)) > 1:
        raise ValueError(f"it holds {frames} images (animated, or several pages): expected one; save each as a file")


def _check_rows(path: str | Path, image: Image.Image) -> None:
    """Raise for a PNG file with missing rows; only a black last row makes decompressing the data again necessary."""
    last = image.crop((0, image.height - 1, image.width, image.height))
    if (image.info.get("interlace") or not np.asarray(last).any()) and not has_all_rows(path):
        raise ValueError("its data ends before its last row")


def _check_scans(path: str | Path) -> None:
    """Raise for a JPEG file with so many scans that decoding takes hours."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        scans = sum(1 for _ in _SCAN.finditer(content))
    if scans > _MOST_SCANS:
        raise ValueError(f"{scans} scans: expected at most {_MOST_SCANS}, as more may be a decompression bomb")


def _check_directory(image: Image.Image, caught: list[warnings.WarningMessage]) -> None:
    """Raise for a TIFF file with a damaged directory, for which Pillow only warns."""
    lost = [str(warning.message) for warning in caught if not str(warning.message).startswith(_HARMLESS)]
    if image.format == "TIFF" and lost:
        raise ValueError(f"its directory is damaged: {lost[0]}")
