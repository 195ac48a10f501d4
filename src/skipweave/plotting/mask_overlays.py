"""Segmentation masks as image files, overlays and figures.

Figures show the class by color and number, so that they are readable without color vision.
"""

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from skipweave_config.errors import SkipweaveError

Colors = Sequence[tuple[int, int, int]]

_INK = "#333333"
_PANEL_INCHES, _SINGLE_INCHES = 4.0, 6.4  # width of a panel, and of a single panel
_GRID = 160  # cells along the longer side in the search for positions of numbers


def mask_image(mask: Tensor, values: Sequence[int], palette: Colors | None = None) -> Image.Image:
    """Convert a mask to an image with the values of the class list.

    Args:
        mask: Labels, (H, W).
        values: Value of each label, 0 to 65535.
        palette: RGB color of each label; None without colors.

    Returns:
        A palette image (mode P) if there are colors and the values fit 8 bits; otherwise a gray image of 8 or 16 bits.

    Raises:
        SkipweaveError: A label has no value.
    """
    numbers = np.array(values)[_checked(mask, values)]
    if max(values) > 255:
        return Image.fromarray(numbers.astype(np.uint16))
    image = Image.fromarray(numbers.astype(np.uint8))
    if palette:
        colors = np.zeros((max(values) + 1, 3), dtype=np.uint8)
        colors[list(values)] = palette[: len(values)]
        image.putpalette(colors.flatten().tolist())
    return image


def overlay(image: Tensor, mask: Tensor, palette: Colors, void: int | None = None, alpha: float = 0.5) -> Image.Image:
    """Overlay a mask on its image, with outlined segments.

    Args:
        image: Image, uint8, (3, H, W).
        mask: Labels, (h, w); a coarser mask is enlarged by nearest-neighbor interpolation.
        palette: RGB color of each label.
        void: Label without overlay.
        alpha: Opacity of the mask, between 0 and 1.

    Returns:
        An RGB image of the size of `image`.

    Raises:
        SkipweaveError: A label has no color.
    """
    numbers = _enlarged(_checked(mask, palette), image.shape[-2:])
    colors = np.array(palette, dtype=np.float32)[numbers]
    opacity = np.where(numbers == void, 0.0, alpha)[..., None]
    pixels = image.permute(1, 2, 0).cpu().numpy().astype(np.float32)
    mixed = pixels * (1 - opacity) + colors * opacity
    mixed[_outlines(numbers)] += 0.6 * (255 - mixed[_outlines(numbers)])
    return Image.fromarray(mixed.round().astype(np.uint8))


@rc_context({"text.parse_math": False})  # names of classes and files are text
def plot_overlay(
    image: Tensor,
    mask: Tensor,
    classes: Sequence[str],
    palette: Colors,
    title: str = "",
    values: Sequence[int] | None = None,
) -> Figure:
    """Plot a mask over its image, with numbered classes and a legend.

    Args:
        image: Image, uint8, (3, H, W).
        mask: Labels, (h, w); `len(classes)` is void.
        classes: Class names, by label.
        palette: RGB color of each label, void included.
        title: Title.
        values: Number of each class in the figure; by default its label.

    Raises:
        SkipweaveError: A label has no color.
    """
    figure, (axes,) = _panels(1, image.shape[-2:], columns=1)
    axes.imshow(overlay(image, mask, palette, void=len(classes)))
    values = values or range(len(classes))
    _number(axes, _checked(mask, palette), image.shape[-2:], values)
    axes.set_title(title, loc="left", fontsize=10, color=_INK)
    _legend(figure, [mask], classes, palette, values)
    return figure


@rc_context({"text.parse_math": False})
def plot_masks(
    image: Tensor,
    masks: Mapping[str, Tensor],
    classes: Sequence[str],
    palette: Colors,
    columns: int = 3,
    values: Sequence[int] | None = None,
) -> Figure:
    """Plot an image and masks side by side, such as the ground truth and predictions of several exits.

    With the ground truth and the exits after 1/4, 1/2, 3/4 and all of the blocks this is the layout of Log-DenseNet's
    Fig. 2.

    Args:
        image: Image, uint8, (3, H, W).
        masks: Labels, (h, w), by title; `len(classes)` is void. A coarser mask is enlarged by nearest-neighbor
            interpolation.
        classes: Class names, by label.
        palette: RGB color of each label, void included.
        columns: Panels per row.
        values: Number of each class in the figure; by default its label.

    Raises:
        SkipweaveError: A label has no color.
    """
    size, values = image.shape[-2:], values or range(len(classes))
    figure, axes = _panels(1 + len(masks), size, columns)
    axes[0].imshow(image.permute(1, 2, 0).cpu().numpy())
    axes[0].set_title("image", loc="left", fontsize=10, color=_INK)
    colors = np.array(palette, dtype=np.uint8)
    for panel, (title, mask) in zip(axes[1:], masks.items(), strict=False):
        numbers = _checked(mask, palette)
        panel.imshow(colors[_enlarged(numbers, size)])
        _number(panel, numbers, size, values)
        panel.set_title(title, loc="left", fontsize=10, color=_INK)
    _legend(figure, list(masks.values()), classes, palette, values)
    return figure


def _checked(mask: Tensor, known: Sequence[object]) -> NDArray[np.int64]:
    numbers = mask.cpu().numpy().astype(np.int64)
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(known):
        raise SkipweaveError(
            f"a mask has labels from {numbers.min()} to {numbers.max()}: expected 0 to {len(known) - 1}"
        )
    return numbers


def _enlarged(numbers: NDArray[np.int64], size: Sequence[int]) -> NDArray[np.int64]:
    """Resize a mask by nearest-neighbor interpolation."""
    if numbers.shape == tuple(size):
        return numbers
    rows, columns = (
        ((np.arange(wanted) + 0.5) * given / wanted).astype(np.int64)
        for given, wanted in zip(numbers.shape, size, strict=True)
    )
    return numbers[rows[:, None], columns]


def _outlines(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbor has another label."""
    edges = np.zeros(numbers.shape, dtype=bool)
    edges[:, :-1] |= numbers[:, :-1] != numbers[:, 1:]
    edges[:-1] |= numbers[:-1] != numbers[1:]
    return edges


def _panels(count: int, size: Sequence[int], columns: int) -> tuple[Figure, list[Axes]]:
    columns = min(columns, count)
    rows = ceil(count / columns)
    width = _PANEL_INCHES if count > 1 else _SINGLE_INCHES
    height = width * size[0] / size[1] + 0.3
    figure = Figure(figsize=(width * columns, height * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for axes in grid:
        axes.set_axis_off()
    return figure, grid[:count]


def _number(axes: Axes, numbers: NDArray[np.int64], size: Sequence[int], values: Sequence[int]) -> None:
    """Write the number of each class into its widest segment."""
    scale_y, scale_x = (wanted / given for wanted, given in zip(size, numbers.shape, strict=True))
    for label, (row, column) in _widest_places(numbers).items():
        if label < len(values):
            axes.text(
                (column + 0.5) * scale_x - 0.5,
                (row + 0.5) * scale_y - 0.5,
                str(values[label]),
                fontsize=7,
                color="black",
                ha="center",
                va="center",
                path_effects=[withStroke(linewidth=2, foreground="white")],
            )


def _widest_places(numbers: NDArray[np.int64]) -> dict[int, tuple[int, int]]:
    """Find the pixel of each label that is farthest from other labels, by repeated erosion."""
    step = ceil(max(numbers.shape) / _GRID)
    coarse = torch.from_numpy(numbers[::step, ::step].copy())
    present = coarse.unique()
    regions = (coarse == present.view(-1, 1, 1)).float()
    depths = torch.zeros_like(regions)
    while regions.any():
        depths += regions
        regions = -F.max_pool2d(-F.pad(regions, (1, 1, 1, 1)), 3, stride=1)
    places = depths.flatten(1).argmax(1).tolist()
    width = coarse.shape[1]
    return {
        label: (place // width * step, place % width * step)
        for label, place in zip(present.tolist(), places, strict=True)
    }


def _legend(
    figure: Figure, masks: Sequence[Tensor], classes: Sequence[str], palette: Colors, values: Sequence[int]
) -> None:
    """Add a legend of the classes that occur, with color and number; void has no number."""
    present = sorted({label for mask in masks for label in mask.unique().tolist()})
    names = {label: f"{values[label]}  {name}" for label, name in enumerate(classes)} | {len(classes): "void"}
    handles = [
        Patch(
            facecolor="#{:02x}{:02x}{:02x}".format(*palette[label]), edgecolor=_INK, label=names.get(label, str(label))
        )
        for label in present
    ]
    columns = max(1, min(len(present), round(figure.get_figwidth() / 1.35)))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False, labelcolor=_INK
    )
