"""TIFF files with other channels than gray and RGB, such as satellite images, decoded by tifffile."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skipweave.data.images.high_bit_depth import LARGEST, PixelType
from skipweave.data.images.image_header import Header

MAGIC = (b"II*\0", b"MM\0*")
_GRAY = (0, 1)  # photometric interpretations: white or black is zero
_UNKNOWN = 0  # an extra sample that is not alpha


def is_multispectral(path: str | Path) -> bool:
    """Whether a file is a TIFF file of channels that are not gray or RGB, and tifffile is installed."""
    with open(path, "rb") as file:
        if file.read(4) not in MAGIC or not find_spec("tifffile"):
            return False
    with _open(path) as file:
        return _channels(file) > 0


def describe(path: str | Path) -> tuple[Header, PixelType]:
    """Read the header and the pixel type of a file."""
    with _open(path) as file:
        page = file.pages[0]
        kind = np.dtype(page.dtype)
        pixel_type = PixelType(kind.itemsize * 8, "", kind.kind == "f", _channels(file))
        return Header(page.imagewidth, page.imagelength, "TIFF"), pixel_type


def decode(path: str | Path) -> Tensor:
    """Decode the channels of a file, pages in their order, unscaled: float32, (C, H, W).

    Raises:
        ValueError: Values are not finite, or not exact in float32.
    """
    with _open(path) as file:
        page = file.pages[0]
        if len(file.pages) > 1:
            values = np.stack([one.asarray() for one in file.pages])
        else:
            values = page.asarray()
            values = values if page.axes == "SYX" else np.moveaxis(values, page.axes.index("S"), 0)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise ValueError("some of its values are NaN or infinite")
    elif np.abs(values.astype(np.int64)).max() > LARGEST:
        raise ValueError(f"values from {values.min()} to {values.max()}: expected integers up to {LARGEST:,}")
    return torch.from_numpy(values.astype(np.float32))


def _open(path: str | Path) -> Any:
    from tifffile import TiffFile

    return TiffFile(path)


def _channels(file: Any) -> int:
    """Number of channels of a file; 0 if it is gray, RGB, one of them with alpha, or of pages that differ."""
    first, pages = file.pages[0], len(file.pages)
    if first.photometric not in _GRAY:
        return 0
    if pages > 1:
        alike = all(page.shape == first.shape and page.dtype == first.dtype for page in file.pages)
        return pages if alike and first.samplesperpixel == 1 else 0
    extra = tuple(map(int, first.extrasamples))
    gray = first.samplesperpixel == 1 or (first.samplesperpixel == 2 and extra and extra[0] != _UNKNOWN)
    return 0 if gray else int(first.samplesperpixel)
