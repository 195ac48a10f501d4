"""Small images inside the page."""

import base64
import io
from html import escape

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_SMALL = 64  # pixels; smaller images are shown enlarged without smoothing
_QUALITY = 80


def thumbnail(image: Image.Image, side: int, text: str) -> str:
    """An `<img>` with its data: PNG for small images, JPEG for photographs.

    Args:
        image: Gray or RGB.
        side: Most pixels of the longer side; larger images are reduced.
        text: Description for those who cannot see it.
    """
    image = image.copy()
    image.thumbnail((side, side))
    kind = "png" if max(image.size) <= _SMALL else "jpeg"
    file = io.BytesIO()
    image.save(file, kind, **({} if kind == "png" else {"quality": _QUALITY}))
    data = base64.b64encode(file.getvalue()).decode()
    pixels = ' class="pixels"' if max(image.size) <= _SMALL else ""
    width, height = image.size
    return f'<img{pixels} width="{width}" height="{height}" alt="{escape(text)}" src="data:image/{kind};base64,{data}">'


def displayable(image: Tensor) -> Image.Image:
    """An image of a dataset, CHW, as gray or RGB with 8 bits.

    Of two channels or more than three the first is shown; values of more than 8 bits from the lowest to the highest.
    """
    shown = image if len(image) == 3 else image[:1]
    if shown.dtype != torch.uint8:
        low, high = shown.min(), shown.max()
        shown = ((shown - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8)
    pixels = np.ascontiguousarray(shown.permute(1, 2, 0).numpy())
    return Image.fromarray(pixels[..., 0] if len(shown) == 1 else pixels)
