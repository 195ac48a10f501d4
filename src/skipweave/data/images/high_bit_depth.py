"""Images of more than 8 bits per channel, decoded at full precision.

Pillow decodes gray images fully, but only the upper 8 bits of each channel of color images. Color images are decoded
here: PNG by torchvision, PPM and uncompressed TIFF as raw values. Other color formats raise.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

_NAMES = {"1": "gray", "L": "gray", "I": "gray", "F": "gray", "P": "palette"} | {
    "LA": "gray with alpha",
    "RGBA": "RGB with alpha",
}
_PNG_NAMES = {0: "gray", 2: "RGB", 3: "palette", 4: "gray with alpha", 6: "RGB with alpha"}  # by color type
_BITS_PER_SAMPLE, _SAMPLE_FORMAT, _PLANAR = 258, 339, 284  # TIFF tags
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3  # sample formats
#: Largest integer up to which all integers are exact in float32.
LARGEST = 1 << 24
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as in Pillow's conversion to gray


class PixelType(NamedTuple):
    """Pixel type of an image file, such as `16-bit gray`.

    Attributes:
        bits: Bits per channel.
        name: Channels: `gray`, `RGB`, `palette` and so on.
        floating: Whether the values are floating-point numbers.
        bands: Number of channels that are neither gray nor RGB; 0 for those that are.
    """

    bits: int
    name: str
    floating: bool = False
    bands: int = 0

    @property
    def high_bit_depth(self) -> bool:
        """Whether the values are loaded as they are: they do not fit 8 bits, or have a scale of their own."""
        return self.bits > 8 or self.floating or self.bands > 0

    def __str__(self) -> str:
        channels = f"of {self.bands} channels" if self.bands else self.name
        return f"{self.bits}-bit {'float ' if self.floating else ''}{channels}"


def pixel_type_of(image: ImageFile.ImageFile) -> PixelType:
    """Return the pixel type of an opened image, from its header; call it before the image is loaded."""
    mode = image.mode.partition(";")[0]
    name = _NAMES.get(mode, mode)
    if image.format == "PNG":
        assert image.fp is not None
        place = image.fp.tell()
        image.fp.seek(24)  # bit depth and color type, within the first chunk
        bits, colors = image.fp.read(2)
        image.fp.seek(place)
        return PixelType(bits, _PNG_NAMES.get(colors, name))
    if image.format == "TIFF":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        formats = tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))
        bits = max(tags.get(_BITS_PER_SAMPLE, (1,)))
        if bits <= 8 and max(formats) == _SIGNED:  # which Pillow decodes as unsigned
            raise ValueError("signed 8-bit values: save it with 16 bits")
        return PixelType(bits, name, floating=max(formats) == _FLOAT)
    if image.format == "PPM":
        return PixelType(32 if mode == "F" else _largest_of_ppm(image).bit_length(), name, floating=mode == "F")
    return PixelType(1 if mode == "1" else 8, name)


def _largest_of_ppm(image: ImageFile.ImageFile) -> int:
    """Return the maximum sample value (maxval) of a PPM file."""
    *_, arguments = image.tile[0]
    if isinstance(arguments, tuple) and isinstance(arguments[-1], int) and arguments[-1] > 0:
        return arguments[-1]
    return 65535 if image.mode == "I" else 1 if image.mode == "1" else 255


def high_bit_depth_pixels(
    path: str | Path, image: ImageFile.ImageFile, pixel_type: PixelType, tiles: Sequence[Any], in_chans: int
) -> Tensor:
    """Decode the unscaled values of an image of more than 8 bits and apply its EXIF orientation.

    Args:
        path: Image file.
        image: The same, opened and loaded; its orientation is not yet applied.
        pixel_type: Its pixel type.
        tiles: `image.tile` before loading: codec, extents, offset in the file and arguments of each tile.
        in_chans: 1 for gray, 3 for color; the image is converted.

    Returns:
        float32, CHW.

    Raises:
        ValueError: The format is not supported, or values are NaN, infinite or too large for float32.
    """
    channels = _channels(path, image, pixel_type, tiles)
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    values = torch.from_numpy(np.stack([_upright(channel, orientation) for channel in channels]))
    if len(values) == in_chans:
        return values
    if in_chans == 3:
        return values.expand(3, -1, -1)
    return (torch.tensor(_LUMA).view(3, 1, 1) * values).sum(0, keepdim=True)


def _channels(
    path: str | Path, image: ImageFile.ImageFile, pixel_type: PixelType, tiles: Sequence[Any]
) -> list[NDArray[np.float32]]:
    """Decode gray, or red, green and blue, without alpha."""
    if len(image.getbands()) == 1:
        channels = [_gray(image, pixel_type, tiles)]
    else:
        pixels = _colors(path, image, tiles)
        channels = [pixels[..., band] for band in range(3 if pixels.shape[-1] > 2 else 1)]
    for channel in channels:
        _check_values(channel, pixel_type)
    return [channel.astype(np.float32) for channel in channels]


def _gray(image: ImageFile.ImageFile, pixel_type: PixelType, tiles: Sequence[Any]) -> NDArray[Any]:
    values = np.asarray(image)
    if image.format == "PPM" and not pixel_type.floating and tiles[0][0] != "raw":
        largest = tiles[0][3][-1]  # which Pillow scales to 65535
        return np.rint(values.astype(np.float64) * largest / 65535)
    if image.format == "TIFF" and pixel_type.bits == 32 and image.mode == "I":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        if max(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))) == _UNSIGNED:
            return values.view(np.uint32)  # which Pillow decodes as signed
    return values


def _colors(path: str | Path, image: ImageFile.ImageFile, tiles: Sequence[Any]) -> NDArray[Any]:
    """Decode the pixels of a color image, (H, W, C), whose lower bits Pillow drops."""
    if image.format == "PNG":
        data = torch.frombuffer(bytearray(Path(path).read_bytes()), dtype=torch.uint8)
        return decode_image(data, ImageReadMode.UNCHANGED).permute(1, 2, 0).numpy()
    plain = all(codec == "raw" and extents[0::2] == (0, image.width) for codec, extents, *_ in tiles)
    if image.format == "TIFF" and plain and image.mode in ("RGB", "RGBA"):
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        order = ">u2" if tags.prefix == b"MM" else "<u2"
        if max(tags[_BITS_PER_SAMPLE]) == 16 and tags.get(_PLANAR, 1) == 1:
            return _rows(path, image.width, len(tags[_BITS_PER_SAMPLE]), order, tiles)
    if image.format == "PPM" and tiles[0][0] == "ppm":
        return _rows(path, image.width, 3, ">u2", tiles)
    raise ValueError("compressed color channels of more than 8 bits are not supported: save it as a 16-bit PNG file")


def _rows(path: str | Path, width: int, channels: int, order: str, tiles: Sequence[Any]) -> NDArray[Any]:
    """Load pixels that are stored row by row, strip by strip."""
    strips = []
    for _, extents, offset, _ in tiles:
        top, bottom = extents[1::2]
        values = np.fromfile(path, order, (bottom - top) * width * channels, offset=offset)
        strips.append(values.reshape(bottom - top, width, channels))
    return np.concatenate(strips)


def _check_values(values: NDArray[Any], pixel_type: PixelType) -> None:
    """Check that values are finite and exact in float32.

    Raises:
        ValueError: Some are not.
    """
    if pixel_type.floating:
        if not np.isfinite(values).all():
            raise ValueError(f"{np.count_nonzero(~np.isfinite(values))} of its values are NaN or infinite")
    elif np.abs(values.astype(np.int64)).max() > LARGEST:
        raise ValueError(f"values from {values.min()} to {values.max()}: expected integers up to {LARGEST:,}")


def _upright(channel: NDArray[np.float32], orientation: int) -> NDArray[np.float32]:
    """Apply an EXIF orientation to one channel."""
    image = Image.fromarray(channel)
    image.getexif()[ExifTags.Base.Orientation] = orientation
    ImageOps.exif_transpose(image, in_place=True)
    return np.array(image)
