"""What an image goes through before a network that labels its pixels, as plain data to be stored with the weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import Tensor
from torchvision.transforms.v2 import functional

from skipweave.data.normalization import Normalization, Range, range_from, without_no_range
from skipweave.errors import SkipweaveError
from skipweave_config.data_config import MAX_SIDE


@dataclass(frozen=True)
class WholeImage(Normalization):
    """Normalize an image as a whole, after bringing it to a size if asked. Calling it applies it to one image.

    Attributes:
        channels: of the image: 1 for gray, 3 for color.
        resize: what the shorter side is brought to, in pixels (bilinear, anti-aliased, on the values of the
            file); None to leave it.
        mean: of each channel, on the scale [0, 1].
        std: of each channel, on the scale [0, 1].
        range: the values that become 0 and 1, for images of more than 8 bits; None for bytes, where 255 becomes 1.
    """

    channels: int
    resize: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    range: Range | None = None

    def __post_init__(self) -> None:
        """Check that the values fit together.

        Raises:
            SkipweaveError: they do not.
        """
        self.check()
        if self.resize is not None and not 1 <= self.resize <= MAX_SIDE:
            raise SkipweaveError(f"preprocessing has resize {self.resize}: expected 1 to {MAX_SIDE} pixels, or none")

    def __call__(self, image: Tensor) -> Tensor:
        """Turn a CHW image of any size into a normalized float32 CHW tensor."""
        return self.normalize(self.fit(image))

    def fit(self, image: Tensor) -> Tensor:
        """Resize an image if asked."""
        if self.resize is None or min(image.shape[-2:]) == self.resize:
            return image
        return functional.resize(image, [self.resize], antialias=True)

    def describe(self) -> dict[str, Any]:
        """The values as plain data; `whole_image_from` is the inverse, also after a trip through JSON."""
        return without_no_range(asdict(self))


def whole_image_from(description: Mapping[str, Any]) -> WholeImage:
    """Rebuild the preprocessing from what `WholeImage.describe` gave.

    Raises:
        SkipweaveError: a value is missing, unknown or of the wrong kind.
    """
    names = [field.name for field in fields(WholeImage)]
    if set(description) | {"range"} != set(names):
        expected = f"expected exactly {sorted(set(names) - {'range'})}, and range for more than 8 bits"
        raise SkipweaveError(f"preprocessing has {sorted(description)}: {expected}")
    try:
        mean, std = (tuple(float(value) for value in description[name]) for name in ("mean", "std"))
        limits = range_from(description)
        resize = None if description["resize"] is None else int(description["resize"])
        channels = int(description["channels"])
    except (TypeError, ValueError, OverflowError) as error:
        raise SkipweaveError(f"preprocessing holds a value of the wrong kind: {dict(description)}") from error
    return WholeImage(channels, resize, mean, std, limits)
