"""SVG files as markup inside an HTML page, with the page's colors and unique ids."""

import re
from collections.abc import Mapping


def inline_svg(svg: str, prefix: str, title: str, colors: Mapping[str, str]) -> str:
    """The `<svg>` element of a file, ready to be pasted into HTML.

    Args:
        svg: The file's text, with or without XML declaration and doctype.
        prefix: Put before every id, so that several pictures can share a page.
        title: What the picture shows, for those who cannot see it.
        colors: Exact color in the file (`#rrggbb`) to what replaces it (for instance `currentColor`).

    Raises:
        ValueError: `svg` holds no `<svg>` element.
    """
    start = re.search(r"<svg\b", svg)
    if start is None:
        raise ValueError("expected the text of an SVG file, found no <svg> element")
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[start.start() :].strip(), flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\1{prefix}", svg)
    svg = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href=", "href=")
    for color, replacement in colors.items():
        svg = re.sub(re.escape(color), replacement, svg, flags=re.IGNORECASE)
    head, rest = svg.split(">", 1)
    head = re.sub(r'\s(width|height|version)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{title}">{rest}'
