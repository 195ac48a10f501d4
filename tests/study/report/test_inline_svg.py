import pytest

from skipweave.study.report.inline_svg import inline_svg

SVG = """<?xml version="1.0"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="10pt" height="5pt" viewBox="0 0 10 5"
 xmlns="http://www.w3.org/2000/svg" version="1.1">
 <metadata><a href="http://purl.org/dc"/></metadata>
 <path id="m1" style="stroke: #1B1B1D; stroke-width: 2"/>
 <g clip-path="url(#m1)"><use xlink:href="#m1" width="3"/></g>
</svg>"""


def test_markup_ids_and_colors():
    assert inline_svg(SVG, "p-", "two dots", {"#1b1b1d": "currentColor"}).split("\n ") == [
        '<svg viewBox="0 0 10 5" role="img" aria-label="two dots">',
        '<path id="p-m1" style="stroke: currentColor; stroke-width: 2"/>',
        '<g clip-path="url(#p-m1)"><use href="#p-m1" width="3"/></g>\n</svg>',
    ]


def test_other_markup_than_svg_raises():
    with pytest.raises(ValueError, match="<svg>"):
        inline_svg("<html></html>", "", "", {})
