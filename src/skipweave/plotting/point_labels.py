"""Names beside the points of a plot, placed where nothing is covered."""

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

_WIDTH = 22  # characters of a line
_LINES = 2
_MARK, _RING = 4.0, 8.0  # half the side of a mark and of a ring around it, in points
_GAP = 1.5  # around a label, in points

# Offsets from the point in points, with the alignment of the text, in the order in which they are tried.
_PLACES = (
    (10, 0, "left", "center"),
    (-10, 0, "right", "center"),
    (0, 10, "center", "bottom"),
    (0, -10, "center", "top"),
    (8, 7, "left", "bottom"),
    (8, -7, "left", "top"),
    (-8, 7, "right", "bottom"),
    (-8, -7, "right", "top"),
)


def label_points(
    axes: Axes, points: Sequence[tuple[float, float]], labels: Sequence[str], *, color: str, fontsize: float
) -> dict[int, Annotation]:
    """Write labels beside points, as far as there is room: within the axes, and on no other label or point.

    To be called when everything else is drawn, as it lays out the figure.

    Args:
        axes: The axes with the points.
        points: Points in the coordinates of the data, those to be labeled first.
        labels: One per point, in at most two lines of 22 characters; points after the last label only keep their place.
        color: Color of the text.
        fontsize: Size of the text in points.

    Returns:
        The texts that have a place, by index of the point.
    """
    figure = axes.get_figure(root=True)
    assert figure
    figure.draw_without_rendering()
    unit = figure.dpi / 72
    centers = axes.transData.transform(points)
    taken = [_square(x, y, (_RING if index < len(labels) else _MARK) * unit) for index, (x, y) in enumerate(centers)]
    frame = axes.get_window_extent().padded(3 * unit)
    placed: dict[int, Annotation] = {}
    for index, label in enumerate(labels):
        lines = textwrap.wrap(label, _WIDTH)
        if len(lines) > _LINES:
            continue
        others = [box for other, box in enumerate(taken) if other != index]
        for dx, dy, ha, va in _PLACES:
            text = axes.annotate("\n".join(lines), points[index], xytext=(dx, dy), textcoords="offset points", ha=ha,
                                 va=va, color=color, fontsize=fontsize, linespacing=1.05)  # fmt: skip
            text.set_in_layout(False)
            box = text.get_window_extent().padded(_GAP * unit)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not box.count_overlaps(others):
                placed[index] = text
                taken.append(box)
                break
            text.remove()
    return placed


def _square(x: float, y: float, half: float) -> Bbox:
    return Bbox.from_extents(x - half, y - half, x + half, y + half)
