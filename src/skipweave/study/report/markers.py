"""The mark of a network in text: a small SVG of the shape and color that it has in plots."""

from matplotlib.markers import MarkerStyle
from matplotlib.path import Path as Shape

_LETTERS = {Shape.MOVETO: "M", Shape.LINETO: "L", Shape.CURVE3: "Q", Shape.CURVE4: "C", Shape.CLOSEPOLY: "Z"}


def marker_svg(color: str, marker: str) -> str:
    """An `<svg>` of one em with a marker of matplotlib."""
    style = MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    parts = []
    for numbers, code in path.iter_segments():
        letter = _LETTERS[code]
        points = numbers.reshape(-1, 2)
        parts.append(letter if letter == "Z" else letter + " ".join(f"{x:.2f},{-y:.2f}" for x, y in points))
    shape = f'<path d="{"".join(parts)}" fill="{color}"/>'
    return f'<svg class="mark" viewBox="-.6 -.6 1.2 1.2" aria-hidden="true">{shape}</svg>'
