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


MARKS = """<svg><defs><path id="p" d="M 1.23456 -7.891 L 2 3.5"/></defs>
<g id="model-3-curve"><path d="M 0 1.999 L 2 3"/></g><g id="model-3-interval2"></g><g id="axes_1"/>
<!-- 1.23456 -->
<text style="font-size: 11px; font-family: 'A B', sans-serif; fill: red" x="1.23456">1.23456</text></svg>"""


def test_marks_know_their_network_and_what_they_show():
    markup = inline_svg(MARKS, "p-", "", {}, ["", "", "", 'net <3> "x"'], {3: "1:0.5 2:0.25"})
    tip = "<title>net &lt;3&gt; &quot;x&quot;</title>"
    curve = f'<g id="p-model-3-curve" data-model="3" data-part="curve" data-values="1:0.5 2:0.25">{tip}<path'
    assert curve in markup
    assert f'<g id="p-model-3-interval2" data-model="3" data-part="interval">{tip}' in markup
    assert '<g id="p-axes_1"/>' in markup


def test_coordinates_and_styles_are_shortened_but_not_text():
    markup = inline_svg(MARKS, "", "", {})
    assert 'd="M 1.23 -7.89 L 2 3.5"' in markup
    assert '<text style="font-size: 11px; fill: red" x="1.23">1.23456</text>' in markup  # in the page's font
    assert "<!--" not in markup


def test_the_title_is_escaped():
    assert 'aria-label="&lt;a&gt; &quot;b&quot;"' in inline_svg(SVG, "", '<a> "b"', {})
