"""What an image goes through before a network sees it, as plain data that can be stored beside the weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import Tensor
from torchvision.transforms.v2 import functional

from skipweave.data.normalization import Normalization, Range, range_from, without_no_range
from skipweave.errors import SkipweaveError
from skipweave_config.data_config import MAX_SIDE


@dataclass(frozen=True)
class Preprocessing(Normalization):
    """The evaluation transform: resize, center crop, normalize. Calling it applies it to one image.

    Attributes:
        channels: of the image: 1 for gray, 3 for color.
        resize: what the shorter side is brought to, in pixels (bilinear, anti-aliased, on the values of the file).
        crop: side of the square cut from the center; not above `resize`.
        mean: of each channel, on the scale [0, 1].
        std: of each channel, on the scale [0, 1].
        range: the values that become 0 and 1, for images of more than 8 bits; None for bytes, where 255 becomes 1.
    """

    channels: int
    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    range: Range | None = None

    def __post_init__(self) -> None:
        """Check that the values fit together.

        Raises:
            SkipweaveError: they do not.
        """
        self.check()
        if not 1 <= self.crop <= self.resize <= MAX_SIDE:
            raise SkipweaveError(
                f"preprocessing has crop {self.crop}, resize {self.resize}: expected 1 <= crop <= resize <= {MAX_SIDE}"
            )

    def __call__(self, image: Tensor) -> Tensor:
        """Turn a CHW image of any size into a normalized float32 tensor of (channels, crop, crop)."""
        return self.normalize(self.fit(image))

    def fit(self, image: Tensor) -> Tensor:
        """Resize and crop an image; one that has the size already is returned as it is."""
        if image.shape[-2:] == (self.crop, self.crop) and self.resize == self.crop:
            return image
        return functional.center_crop(functional.resize(image, [self.resize], antialias=True), [self.crop])

    def describe(self) -> dict[str, Any]:
        """The values as plain data; `eval_transform_from` is the inverse, also after a trip through JSON."""
        return without_no_range(asdict(self))


def eval_transform_from(description: Mapping[str, Any]) -> Preprocessing:
    """Rebuild the evaluation transform from what `Preprocessing.describe` gave.

    Args:
        description: the values by name, range where there is one; lists may stand for tuples.

    Returns:
        The transform: CHW image to normalized float32 tensor.

    Raises:
        SkipweaveError: a value is missing, unknown or of the wrong kind.
    """
    names = [field.name for field in fields(Preprocessing)]
    if set(description) | {"range"} != set(names):
        expected = f"expected exactly {sorted(set(names) - {'range'})}, and range for more than 8 bits"
        raise SkipweaveError(f"preprocessing has {sorted(description)}: {expected}")
    try:
        channels, resize, crop = (int(description[name]) for name in ("channels", "resize", "crop"))
        mean, std = (tuple(float(value) for value in description[name]) for name in ("mean", "std"))
        limits = range_from(description)
    except (TypeError, ValueError, OverflowError) as error:
        raise SkipweaveError(f"preprocessing holds a value of the wrong kind: {dict(description)}") from error
    return Preprocessing(channels, resize, crop, mean, std, limits)
