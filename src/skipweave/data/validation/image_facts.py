"""Facts about one image: values, size, and fingerprints by which copies are found."""

import hashlib
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional

_SIDE = 8  # of the hashed image, whose differences are 64 bits
_SMALLEST = 32  # shorter side of images that are large enough to be compared by their look
_FLAT = 8  # fewest differing and equal neighbors of an image that is not flat
_CONTRAST = 0.25  # least contrast of the hashed image to that of the image, which is lower for textures


@dataclass(frozen=True)
class ImageFacts:
    """Facts about one image.

    Attributes:
        kind: Pixel type, such as `8-bit RGB` or `16-bit gray`.
        low: Lowest value.
        high: Highest value.
        height: Height in pixels.
        width: Width in pixels.
        checksum: Checksum of size and pixels, which are equal in copies in other formats without loss.
        look: `difference_hash`, equal in most copies of another size or compression; None of small and flat images
            and of textures.
    """

    kind: str
    low: float
    high: float
    height: int
    width: int
    checksum: bytes
    look: int | None


def facts_of(kind: str, image: Tensor) -> ImageFacts:
    """Gather the facts about an image, (C, H, W)."""
    height, width = image.shape[-2:]
    checksum = hashlib.blake2b(repr(tuple(image.shape)).encode(), digest_size=16)
    checksum.update(image.contiguous().numpy().tobytes())
    look = difference_hash(image) if min(height, width) >= _SMALLEST else None
    return ImageFacts(kind, image.min().item(), image.max().item(), height, width, checksum.digest(), look)


def difference_hash(image: Tensor) -> int | None:
    """Compare neighbors of an image scaled down to 8 x 9 gray pixels.

    Args:
        image: (C, H, W).

    Returns:
        64 bits, each set if a pixel is darker than its right neighbor; None for an image that is nearly flat, a plain
        gradient or a texture, whose detail averages out, as many different images are.
    """
    gray = image.float().mean(0, keepdim=True)
    small = functional.interpolate(gray[None], (_SIDE, _SIDE + 1), mode="bilinear", antialias=True)[0, 0]
    if small.std() < _CONTRAST * gray.std():
        return None
    darker = (small[:, :-1] < small[:, 1:]).flatten()
    if not _FLAT <= int(darker.sum()) <= darker.numel() - _FLAT:
        return None
    return int.from_bytes(np.packbits(darker.numpy()).tobytes())
