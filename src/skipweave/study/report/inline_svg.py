"""SVG files as markup inside an HTML page: with its colors and font, unique ids, and marks that know their network."""

import re
from collections.abc import Mapping, Sequence
from html import escape

_MARK = re.compile(r'<g id="model-(\d+)-([a-z]+)(\d*)">')
_FONT = re.compile(r'(?<=style=")([^"]*?)font-family: [^;"]*(?:; )?')
_COORDINATES = re.compile(r'(?<=\s)(d|x|y|transform)="[^"]*"')


def inline_svg(
    svg: str,
    prefix: str,
    title: str,
    colors: Mapping[str, str],
    tips: Sequence[str] = (),
    curves: Mapping[int, str] | None = None,
) -> str:
    """The `<svg>` element of a file, ready to be pasted into HTML.

    A group with the id `model-INDEX-PART` gets the attributes `data-model` and `data-part`, and its tip as `<title>`.

    Args:
        svg: The file's text, with or without XML declaration and doctype.
        prefix: Put before every id, so that several pictures can share a page.
        title: What the picture shows, for those who cannot see it.
        colors: Exact color in the file (`#rrggbb`) to what replaces it (for instance `currentColor`).
        tips: What the marks of each network show when pointed at.
        curves: Values of the part `curve` of each network, for its `data-values`.

    Raises:
        ValueError: `svg` holds no `<svg>` element.
    """
    start = re.search(r"<svg\b", svg)
    if start is None:
        raise ValueError("expected the text of an SVG file, found no <svg> element")
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[start.start() :].strip(), flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)  # texts once more
    svg = _FONT.sub(r"\1", svg)
    svg = _COORDINATES.sub(lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), svg)
    svg = _MARK.sub(lambda mark: _with_tip(mark, tips, curves or {}), svg)
    svg = re.sub(r'(?<=\s)id="([^"]+)"', rf'id="{prefix}\1"', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\1{prefix}", svg)
    svg = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href=", "href=")
    for color, replacement in colors.items():
        svg = re.sub(re.escape(color), replacement, svg, flags=re.IGNORECASE)
    head, rest = svg.split(">", 1)
    head = re.sub(r'\s(width|height|version)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{escape(title)}">{rest}'


def _with_tip(mark: re.Match[str], tips: Sequence[str], curves: Mapping[int, str]) -> str:
    model, part = int(mark[1]), mark[2]
    values = f' data-values="{curves[model]}"' if part == "curve" and model in curves else ""
    tip = f"<title>{escape(tips[model])}</title>" if tips else ""
    return f'{mark[0][:-1]} data-model="{model}" data-part="{part}"{values}>{tip}'
