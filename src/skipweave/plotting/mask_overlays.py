"""Pictures of label maps: as colored images, laid over their photographs, and side by side as figures with a legend.

Classes are told by color and, in figures, also by number, so that readers who confuse some of the colors can follow.
Figures are made without pyplot: nothing global is touched, no window opens, and they are freed like any object.
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

from skipweave.errors import SkipweaveError

Colors = Sequence[tuple[int, int, int]]

_INK = "#333333"
_PANEL_INCHES, _SINGLE_INCHES = 4.0, 6.4  # width of a picture in a figure, and of one that stands alone
_GRID = 160  # cells along the longer side in which places for numbers are sought


def mask_image(labels: Tensor, values: Sequence[int], palette: Colors | None = None) -> Image.Image:
    """A predicted mask as an image file holds it, in the values that stand for the classes in the user's own masks.

    Args:
        labels: (H, W) labels, each with a value.
        values: of 0 to 65535, by label.
        palette: RGB colors by label; None where masks have none.

    Returns:
        A palette image (mode P) of those values and colors if there are colors and 8 bits hold the values; else a gray
        one of the values, of 8 bits or of 16.

    Raises:
        SkipweaveError: a label has no value.
    """
    numbers = np.array(values)[_checked(labels, values)]
    if max(values) > 255:
        return Image.fromarray(numbers.astype(np.uint16))
    image = Image.fromarray(numbers.astype(np.uint8))
    if palette:
        colors = np.zeros((max(values) + 1, 3), dtype=np.uint8)
        colors[list(values)] = palette[: len(values)]
        image.putpalette(colors.flatten().tolist())
    return image


def overlay(
    image: Tensor, labels: Tensor, palette: Colors, void: int | None = None, strength: float = 0.5
) -> Image.Image:
    """A label map laid over its photograph, regions outlined.

    Args:
        image: uint8 (3, H, W).
        labels: (h, w) labels; a coarser map is enlarged, each pixel becoming a rectangle.
        palette: RGB colors by label.
        void: label whose pixels stay as they are.
        strength: how much of the color is seen, between 0 and 1.

    Returns:
        An RGB image of the photograph's size.

    Raises:
        SkipweaveError: a label has no color.
    """
    numbers = _enlarged(_checked(labels, palette), image.shape[-2:])
    colors = np.array(palette, dtype=np.float32)[numbers]
    share = np.where(numbers == void, 0.0, strength)[..., None]
    photograph = image.permute(1, 2, 0).cpu().numpy().astype(np.float32)
    mixed = photograph * (1 - share) + colors * share
    mixed[_outlines(numbers)] += 0.6 * (255 - mixed[_outlines(numbers)])
    return Image.fromarray(mixed.round().astype(np.uint8))


@rc_context({"text.parse_math": False})  # names of classes and files are text
def overlay_figure(
    image: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    palette: Colors,
    title: str = "",
    values: Sequence[int] | None = None,
) -> Figure:
    """A label map laid over its photograph, classes numbered, with a legend.

    Args:
        image: uint8 (3, H, W).
        labels: (h, w) labels; `len(classes)` is void.
        classes: their names, by label.
        palette: RGB colors by label, void's included.
        title: heading.
        values: numbers of the classes in the user's masks; by default their labels.

    Raises:
        SkipweaveError: a label has no color.
    """
    figure, (axes,) = _panels(1, image.shape[-2:], columns=1)
    axes.imshow(overlay(image, labels, palette, void=len(classes)))
    values = values or range(len(classes))
    _number(axes, _checked(labels, palette), image.shape[-2:], values)
    axes.set_title(title, loc="left", fontsize=10, color=_INK)
    _legend(figure, [labels], classes, palette, values)
    return figure


@rc_context({"text.parse_math": False})
def comparison(
    image: Tensor,
    maps: Mapping[str, Tensor],
    classes: Sequence[str],
    palette: Colors,
    columns: int = 3,
    values: Sequence[int] | None = None,
) -> Figure:
    """A photograph and label maps of it side by side, such as the truth and a network's predictions at its exits.

    With the truth and the exits after 1/4, 1/2, 3/4 and all of the blocks this is the layout of Log-DenseNet's Fig. 2.

    Args:
        image: uint8 (3, H, W).
        maps: (h, w) labels by what stands above them, `len(classes)` being void; a coarser map is shown enlarged, each
            pixel a rectangle.
        classes: their names, by label.
        palette: RGB colors by label, void's included.
        columns: pictures a row.
        values: numbers of the classes in the user's masks; by default their labels.

    Raises:
        SkipweaveError: a label has no color.
    """
    size, values = image.shape[-2:], values or range(len(classes))
    figure, axes = _panels(1 + len(maps), size, columns)
    axes[0].imshow(image.permute(1, 2, 0).cpu().numpy())
    axes[0].set_title("image", loc="left", fontsize=10, color=_INK)
    colors = np.array(palette, dtype=np.uint8)
    for panel, (title, labels) in zip(axes[1:], maps.items(), strict=False):
        numbers = _checked(labels, palette)
        panel.imshow(colors[_enlarged(numbers, size)])
        _number(panel, numbers, size, values)
        panel.set_title(title, loc="left", fontsize=10, color=_INK)
    _legend(figure, list(maps.values()), classes, palette, values)
    return figure


def _checked(labels: Tensor, known: Sequence[object]) -> NDArray[np.int64]:
    numbers = labels.cpu().numpy().astype(np.int64)
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(known):
        raise SkipweaveError(
            f"a label map holds labels from {numbers.min()} to {numbers.max()}: expected 0 to {len(known) - 1}"
        )
    return numbers


def _enlarged(numbers: NDArray[np.int64], size: Sequence[int]) -> NDArray[np.int64]:
    """Bring a label map to a size by the nearest pixel."""
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
    """Write each class's number where its widest region is."""
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
    """For each label the pixel farthest from pixels of other labels, found by eroding all regions step by step."""
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
    figure: Figure, maps: Sequence[Tensor], classes: Sequence[str], palette: Colors, values: Sequence[int]
) -> None:
    """Name the classes that occur, each with its color and number; void, if it occurs, without one."""
    present = sorted({label for labels in maps for label in labels.unique().tolist()})
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
