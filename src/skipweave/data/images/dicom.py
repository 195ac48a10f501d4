"""DICOM files, decoded by pydicom: gray images in physical units."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skipweave.data.images.high_bit_depth import PixelType
from skipweave.data.images.image_header import Header
from skipweave_config.errors import SkipweaveError

ENDINGS = (".dcm", ".dicom")
_MAGIC_AT, _MAGIC = 128, b"DICM"


def is_dicom(path: str | Path) -> bool:
    """Whether a file is named as a DICOM file or has the magic number of one."""
    if str(path).lower().endswith(ENDINGS):
        return True
    with open(path, "rb") as file:
        file.seek(_MAGIC_AT)
        return file.read(len(_MAGIC)) == _MAGIC


def describe(path: str | Path) -> tuple[Header, PixelType]:
    """Read the header and the pixel type of a file.

    Raises:
        SkipweaveError: pydicom is not installed.
        ValueError: The file holds no gray image, or several.
    """
    dataset = _open(path, stop_before_pixels=True)
    slope, intercept = _rescale(dataset)
    bits = int(dataset.BitsAllocated)
    if (slope, intercept) != (1, 0):
        bits = max(bits, 16)
    floating = not (slope.is_integer() and intercept.is_integer())
    return Header(int(dataset.Columns), int(dataset.Rows), "DICOM"), PixelType(bits, "gray (DICOM)", floating)


def decode(path: str | Path) -> Tensor:
    """Decode a file.

    Stored values are multiplied by the rescale slope, and the intercept is added. Images with high values for black
    (MONOCHROME1) are inverted before, so that high values are white.

    Returns:
        (1, H, W): float32, or uint8 for stored values of 8 bits without rescaling.

    Raises:
        SkipweaveError: pydicom is not installed.
        ValueError: The file holds no gray image, or several.
    """
    dataset = _open(path, stop_before_pixels=False)
    values: Any = dataset.pixel_array
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        lowest = -(1 << (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
        values = 2 * lowest + (1 << dataset.BitsStored) - 1 - values.astype(np.int64)
    slope, intercept = _rescale(dataset)
    if (slope, intercept) == (1, 0) and dataset.BitsAllocated == 8:
        return torch.from_numpy(values.astype(np.uint8))[None]
    return torch.from_numpy((values.astype(np.float64) * slope + intercept).astype(np.float32))[None]


def window_of(path: str | Path) -> tuple[float, float] | None:
    """Return the window of a file, (center, width) in rescaled values; the first of several, None if it has none."""
    dataset = _open(path, stop_before_pixels=True)
    center, width = (np.atleast_1d(dataset.get(name) or ()) for name in ("WindowCenter", "WindowWidth"))
    return (float(center[0]), float(width[0])) if len(center) and len(width) else None


def _open(path: str | Path, *, stop_before_pixels: bool) -> Any:
    try:
        import pydicom
    except ImportError:
        raise SkipweaveError(f"{path} is a DICOM file: pip install 'skipweave[dicom]' to load it") from None
    dataset = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels)
    if "Rows" not in dataset:
        raise ValueError("a DICOM file without an image: leave it out")
    if not (kind := str(dataset.get("PhotometricInterpretation"))).startswith("MONOCHROME"):
        raise ValueError(f"a DICOM file with {kind} pixels: expected gray ones (MONOCHROME); save color images as PNG")
    if (frames := int(dataset.get("NumberOfFrames") or 1)) > 1:
        raise ValueError(f"a DICOM file of {frames} frames: expected one; save each frame as a file of its own")
    return dataset


def _rescale(dataset: Any) -> tuple[float, float]:
    """Rescale slope and intercept."""
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    return 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)
