"""Decoding of mask files, whose values or colors encode the class of each pixel."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from skipweave.data.images.decoding import open_upright, read_pixel_type
from skipweave.data.segmentation.class_list import ClassEntry, ClassList, Code, pack, unpack
from skipweave_config.errors import SkipweaveError

_SHOWN, _LISTED = 4, 12


def open_mask(path: str | Path, classes: ClassList) -> Tensor:
    """Decode a mask.

    Args:
        path: Index image (one channel, or a palette, whose indices are used) or color image (its alpha is ignored). A
            color image of grays is an index image if the class list has no colors.
        classes: Classes of the mask.

    Returns:
        The label of each pixel: uint8, (H, W); `classes.void` for pixels to ignore.

    Raises:
        SkipweaveError: The file cannot be read, or has a value or color that is not in the class list.
    """
    with open_upright(path) as image:
        if len(image.getbands()) > 1:
            if (pixel_type := read_pixel_type(path)).high_bit_depth:  # whose lower bits Pillow drops
                raise SkipweaveError(f"mask {path} is a {pixel_type} image: expected 8 bits per channel")
            colors = np.asarray(image.convert("RGB"))
            if classes.colored or (colors != colors[..., :1]).any():
                return _decode(path, pack(colors), classes.of_color, classes, "color")
            return _decode(path, colors[..., 0].astype(np.int64), classes.of_value, classes, "value")
        values = np.asarray(image)
        if not np.issubdtype(values.dtype, np.integer) and values.dtype != np.bool_:
            raise SkipweaveError(f"mask {path} has floating-point values: expected integers or colors")
        values = values.astype(np.int64)
        if image.mode == "P" and _palette_disagrees(image, values, classes):
            raise SkipweaveError(
                f"mask {path} has a palette whose colors are of other classes than its values, by class list "
                f"{classes.source}: save it as RGB if the colors are right, as gray if the values are"
            )
        return _decode(path, values, classes.of_value, classes, "value")


def binary_classes(paths: Iterable[Path], source: str) -> ClassList | None:
    """Return the classes of binary masks: background 0, and foreground 255 or 1; None if masks have other values.

    The first mask that is not all background decides; the others must agree when they are decoded.

    Args:
        paths: Masks.
        source: Origin of the classes, for error messages.
    """
    for path in paths:
        try:
            with open_upright(path) as image:
                values = np.unique(np.asarray(image if len(image.getbands()) == 1 else image.convert("RGB")))
        except SkipweaveError:
            continue  # reported when it is loaded, or skipped
        if foreground := [value for value in values.tolist() if value]:
            entries = ClassEntry("background", 0), ClassEntry("foreground", int(foreground[0]))
            return ClassList(entries, source) if foreground in ([1], [255]) else None
    return None


def _decode(path: str | Path, numbers: NDArray[np.int64], code: Code, classes: ClassList, what: str) -> Tensor:
    labels, known = code.decode(numbers)
    if known.all():
        return torch.from_numpy(labels)
    found, counts = np.unique(numbers[~known], return_counts=True)
    by_count = found[np.argsort(-counts, kind="stable")].tolist()
    valid = code.numbers.tolist()
    expected = f"the {what}s {_some(valid, what, _LISTED)} of" if valid else "the columns r,g,b for them in"
    lossy = "; JPEG changes values: save masks as PNG" if str(path).lower().endswith((".jpg", ".jpeg")) else ""
    raise SkipweaveError(
        f"mask {path} has the {what}(s) {_some(by_count, what, _SHOWN)} in {counts.sum()} of {numbers.size} "
        f"pixels: expected {expected} class list {classes.source}{lossy}"
    )


def _some(numbers: Sequence[int], what: str, most: int) -> str:
    shown = [str(unpack(number) if what == "color" else number) for number in numbers[:most]]
    return ", ".join(shown) + (f" and {len(numbers) - most} more" if len(numbers) > most else "")


def _palette_disagrees(image: Image.Image, values: NDArray[np.int64], classes: ClassList) -> bool:
    """Whether the used palette colors are several, all in the class list, and of other classes than the values."""
    used = np.unique(values)
    entries = np.array(image.getpalette("RGB") or [], dtype=np.int64).reshape(-1, 3)
    if used.max() >= len(entries) or len(np.unique(colors := pack(entries[used]))) == 1:
        return False
    by_color, colored = classes.of_color.decode(colors)
    by_value, known = classes.of_value.decode(used)
    return bool(colored.all() and not (known & (by_color == by_value)).all())
