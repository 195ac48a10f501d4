"""Bring the channels of byte images to zero mean and unit standard deviation."""

from functools import cached_property

import torch
from torch import Tensor

from skipweave.errors import SkipweaveError

#: The longest side that an image is brought to: larger ones do not fit into memory.
MOST_PIXELS = 2**14


class Normalising:
    """What preprocessings share: `channels`, `mean` and `std`, which they have as fields, and their use."""

    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def check(self) -> None:
        """Check the three values.

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

    def normalise(self, image: Tensor) -> Tensor:
        """Scale bytes to zero mean and unit standard deviation a channel: (image / 255 - mean) / std."""
        return image.float().sub_(self._offset).mul_(self._gain)

    @cached_property
    def _offset(self) -> Tensor:
        return torch.tensor(self.mean).mul(255).view(-1, 1, 1)

    @cached_property
    def _gain(self) -> Tensor:
        return torch.tensor(self.std).mul(255).reciprocal().view(-1, 1, 1)
