"""Read label images: files whose values or colors name the class of each pixel."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from skipweave.data.images.decoding import open_upright, read_kind
from skipweave.data.segmentation.class_list import Code, LabelClasses, pack, unpack
from skipweave.errors import SkipweaveError

_SHOWN, _LISTED = 4, 12


def open_labels(path: str | Path, classes: LabelClasses) -> Tensor:
    """Read a label image.

    Args:
        path: an index image (one channel; of a palette image the indices count) or a colored one (its alpha is
            ignored).
        classes: what its values and colors stand for.

    Returns:
        The label of each pixel: uint8, (H, W); `classes.void` where it is to be ignored.

    Raises:
        SkipweaveError: the file cannot be read, or holds a value or color that the class list does not.
    """
    with open_upright(path) as image:
        if len(image.getbands()) > 1:
            if (kind := read_kind(path)).deep:  # of which Pillow drops the lower bits
                raise SkipweaveError(f"label image {path} is a {kind} image: save its colors with 8 bits a channel")
            return _decode(path, pack(np.asarray(image.convert("RGB"))), classes.of_color, classes, "color")
        values = np.asarray(image)
        if not np.issubdtype(values.dtype, np.integer) and values.dtype != np.bool_:
            raise SkipweaveError(f"label image {path} holds fractions: expected integers or colors")
        values = values.astype(np.int64)
        if image.mode == "P" and _palette_disagrees(image, values, classes):
            raise SkipweaveError(
                f"label image {path} has a palette whose colors stand for other classes than its values, by class "
                f"list {classes.source}: save it as an RGB image if the colors are right, as a gray one if the values"
            )
        return _decode(path, values, classes.of_value, classes, "value")


def _decode(path: str | Path, numbers: NDArray[np.int64], code: Code, classes: LabelClasses, what: str) -> Tensor:
    labels, known = code.decode(numbers)
    if known.all():
        return torch.from_numpy(labels)
    found, counts = np.unique(numbers[~known], return_counts=True)
    by_count = found[np.argsort(-counts, kind="stable")].tolist()
    valid = code.numbers.tolist()
    expected = f"the {what}s {_some(valid, what, _LISTED)} of" if valid else f"no {what}s, as there are none in"
    lossy = "; JPEG changes values, so save labels as PNG" if str(path).lower().endswith((".jpg", ".jpeg")) else ""
    raise SkipweaveError(
        f"label image {path} holds the {what}(s) {_some(by_count, what, _SHOWN)} in {counts.sum()} of {numbers.size} "
        f"pixels: expected {expected} class list {classes.source}{lossy}"
    )


def _some(numbers: Sequence[int], what: str, most: int) -> str:
    shown = [str(unpack(number) if what == "color" else number) for number in numbers[:most]]
    return ", ".join(shown) + (f" and {len(numbers) - most} more" if len(numbers) > most else "")


def _palette_disagrees(image: Image.Image, values: NDArray[np.int64], classes: LabelClasses) -> bool:
    """Whether the palette's colors, several and all of the class list, stand for other classes than the values do."""
    used = np.unique(values)
    entries = np.array(image.getpalette("RGB") or [], dtype=np.int64).reshape(-1, 3)
    if used.max() >= len(entries) or len(np.unique(colors := pack(entries[used]))) == 1:
        return False
    by_color, colored = classes.of_color.decode(colors)
    by_value, known = classes.of_value.decode(used)
    return bool(colored.all() and not (known & (by_color == by_value)).all())
