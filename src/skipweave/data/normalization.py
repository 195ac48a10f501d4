"""Bring the channels of images to zero mean and unit standard deviation."""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from skipweave.errors import SkipweaveError

#: The lowest and the highest value of images of more than 8 bits.
Range = tuple[float, float]


class Normalization:
    """What preprocessings share: `channels`, `mean`, `std` and `range`, which they have as fields, and their use."""

    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    range: Range | None

    def check(self) -> None:
        """Check the four values.

        Raises:
            SkipweaveError: they do not fit together.
        """
        if not (len(self.mean) == len(self.std) == self.channels):
            raise SkipweaveError(
                f"preprocessing of {self.channels} channels has {len(self.mean)} means and {len(self.std)} "
                f"standard deviations: expected one of each a channel"
            )
        if min(self.std) <= 0:
            raise SkipweaveError(f"preprocessing has std {self.std}: expected std above 0")
        if problem := range_problem(self.range):
            raise SkipweaveError(f"preprocessing: {problem}")

    def normalize(self, image: Tensor) -> Tensor:
        """Scale values to zero mean and unit standard deviation a channel.

        Args:
            image: CHW. Without a range bytes: (image / 255 - mean) / std. With a range (low, high) floating-point
                numbers: ((image - low) / (high - low) - mean) / std; values beyond the range are scaled alike.

        Raises:
            SkipweaveError: an image of 8 bits where a range is given, or of more where none is.
        """
        self.check_depth(image)
        if self.range is None:
            return image.float().sub_(self._offset).mul_(self._gain)
        low, high = self.range
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return image.sub(low).div_(high - low).sub_(mean).div_(std)

    def check_depth(self, image: Tensor) -> None:
        """Refuse an image whose values are of another kind than those that the range is for.

        Raises:
            SkipweaveError: 8 bits where a range is given, or more where none is.
        """
        if image.is_floating_point() == (self.range is not None):
            return
        found, wanted = ("8 bits", "more") if self.range else ("more than 8 bits", "8")
        raise SkipweaveError(
            f"an image of {found} a channel (values from {image.min().item():g} to {image.max().item():g}), where the "
            f"training images have {wanted}: give it with the values that those have"
        )

    def as_bytes(self, image: Tensor) -> Tensor:
        """An image for people to look at: uint8, the range from black to white."""
        if self.range is None:
            return image
        low, high = self.range
        return image.sub(low).mul_(255 / (high - low)).round_().clamp_(0, 255).byte()

    @cached_property
    def _offset(self) -> Tensor:
        return torch.tensor(self.mean).mul(255).view(-1, 1, 1)

    @cached_property
    def _gain(self) -> Tensor:
        return torch.tensor(self.std).mul(255).reciprocal().view(-1, 1, 1)


def range_problem(values: Range | None) -> str:
    """What is wrong with a range, in words; nothing if it is none or two rising finite numbers."""
    right = values is None or (len(values) == 2 and all(map(math.isfinite, values)) and values[0] < values[1])
    return "" if right else f"range is {list(values or ())}: expected two numbers, the lowest and the highest value"


def without_no_range(description: dict[str, Any]) -> dict[str, Any]:
    """A description as it is stored: bytes need no range, and files of networks for bytes know none."""
    return {name: value for name, value in description.items() if name != "range" or value is not None}


def range_from(description: Mapping[str, Any]) -> Range | None:
    """The range that a description holds.

    Raises:
        TypeError: it is no list.
        ValueError: it does not hold two numbers.
    """
    if description.get("range") is None:
        return None
    low, high = description["range"]
    return float(low), float(high)
