"""Evaluation preprocessing: resize, center crop and normalize, stored with the weights."""

import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from skipweave_config.data_config import MAX_SIDE
from skipweave_config.errors import SkipweaveError

Range = tuple[float, float]
"""Lowest and highest value of images of more than 8 bits."""

_OPTIONAL = {"crop", "range", "clip"}  # left out of the stored form where they are None or False


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Evaluation transform of one image.

    Attributes:
        channels: Channels of the image: 1 for gray, 3 for color, or more.
        resize: Length of the shorter side after resizing (bilinear, anti-aliased, before normalization); None keeps the
            size.
        crop: Side of the center crop, at most `resize`; None, as in segmentation, keeps the whole image.
        mean: Mean of each channel, on the scale [0, 1].
        std: Standard deviation of each channel, on the scale [0, 1].
        range: Values mapped to 0 and 1, for images of more than 8 bits; None for 8 bits, where 255 is mapped to 1.
        clip: Whether values outside the range become 0 and 1, as in a window; otherwise they are scaled alike.

    Raises:
        SkipweaveError: The values do not fit together.
    """

    channels: int
    resize: int | None
    crop: int | None = None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    range: Range | None = None
    clip: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if not (len(self.mean) == len(self.std) == self.channels):
            raise SkipweaveError(
                f"{self.channels} channels have {len(self.mean)} means and {len(self.std)} standard deviations: "
                f"expected one of each per channel"
            )
        if not all(map(math.isfinite, (*self.mean, *self.std))):
            raise SkipweaveError(f"mean is {self.mean} and std {self.std}: expected finite values")
        if min(self.std, default=0.0) <= 0:
            raise SkipweaveError(f"std is {self.std}: expected std above 0")
        if self.range and not -math.inf < self.range[0] < self.range[1] < math.inf:
            raise SkipweaveError(f"range is {list(self.range)}: expected the lowest and the highest value")
        if self.resize is not None and not 1 <= self.resize <= MAX_SIDE:
            raise SkipweaveError(f"resize is {self.resize}: expected 1 to {MAX_SIDE} pixels, or none")
        if self.crop is not None and not 1 <= self.crop <= (self.resize or 0):
            raise SkipweaveError(f"crop is {self.crop} with resize {self.resize}: expected 1 <= crop <= resize")

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width of a transformed image; None if they depend on the image."""
        return (self.crop, self.crop) if self.crop else None

    def __call__(self, image: Tensor) -> Tensor:
        """Turn a CHW image of any size into a normalized float32 CHW tensor."""
        return self.normalize(self.fit(image))

    def fit(self, image: Tensor) -> Tensor:
        """Resize and crop an image; one that has the size already is returned as it is."""
        if self.resize is not None and min(image.shape[-2:]) != self.resize:
            image = functional.resize(image, [self.resize], antialias=True)
        if self.crop is not None and image.shape[-2:] != (self.crop, self.crop):
            image = functional.center_crop(image, [self.crop])
        return image

    def normalize(self, image: Tensor) -> Tensor:
        """Scale values to zero mean and unit standard deviation per channel.

        Args:
            image: CHW tensor. Without a range uint8: (image / 255 - mean) / std. With a range (low, high) float:
                ((image - low) / (high - low) - mean) / std; values outside the range are clipped or scaled alike.

        Raises:
            SkipweaveError: The image has 8 bits where a range is given, or more where none is.
        """
        self.check_bit_depth(image)
        if self.range is None:
            return image.float().sub_(self._offset).mul_(self._scale)
        low, high = self.range
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        scaled = image.sub(low).div_(high - low)
        return (scaled.clamp_(0, 1) if self.clip else scaled).sub_(mean).div_(std)

    def check_bit_depth(self, image: Tensor) -> None:
        """Check that an image has the bit depth of the training images.

        Raises:
            SkipweaveError: The image has 8 bits where a range is given, or more where none is.
        """
        if image.is_floating_point() == (self.range is not None):
            return
        found, wanted = ("8 bits", "more") if self.range else ("more than 8 bits", "8")
        raise SkipweaveError(
            f"an image has {found} per channel (values from {image.min().item():g} to {image.max().item():g}), but the "
            f"training images have {wanted}: expected an image of the same bit depth"
        )

    def as_bytes(self, image: Tensor) -> Tensor:
        """Convert an image to uint8 for display; a range is mapped to black and white."""
        if self.range is None:
            return image
        low, high = self.range
        return image.sub(low).mul_(255 / (high - low)).round_().clamp_(0, 255).byte()

    def to_dict(self) -> dict[str, Any]:
        """Return the values as JSON values; `validate_json` is the inverse."""
        return {name: value for name, value in asdict(self).items() if value or name not in _OPTIONAL}

    def with_channels(self, channels: int) -> "Preprocessing":
        """Return the preprocessing of gray images, with average mean and std, or of others, with mean 0 and std 1."""
        if channels == self.channels:
            return self
        if channels > 1:
            return replace(self, channels=channels, mean=(0.0,) * channels, std=(1.0,) * channels)
        mean, std = (sum(values) / len(values) for values in (self.mean, self.std))
        return replace(self, channels=1, mean=(mean,), std=(std,))

    @cached_property
    def _offset(self) -> Tensor:
        return torch.tensor(self.mean).mul(255).view(-1, 1, 1)

    @cached_property
    def _scale(self) -> Tensor:
        return torch.tensor(self.std).mul(255).reciprocal().view(-1, 1, 1)
