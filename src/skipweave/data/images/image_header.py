"""Header of an image file."""

from typing import NamedTuple


class Header(NamedTuple):
    """Header of an image file: size before its EXIF orientation is applied, and the name of the format."""

    width: int
    height: int
    format: str
