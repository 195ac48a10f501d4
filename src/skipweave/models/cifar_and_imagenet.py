"""The two forms of a family: one for the small images of CIFAR, one for those of ImageNet."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from skipweave.layers import CifarStem, ImageNetStem
from skipweave.models.arguments import Arguments

FormName = Literal["cifar", "imagenet"]


@dataclass(frozen=True)
class Form:
    """Stem and stages of a form.

    Attributes:
        stages: Stages, each but the first at half the resolution of the one before.
        stride: Stride of the first stage against the image.
        make_stem: Given (channels of the images, channels to make), the stem.
    """

    stages: int
    stride: int
    make_stem: type[CifarStem] | type[ImageNetStem]

    @property
    def strides(self) -> tuple[int, ...]:
        """Stride of each stage against the image."""
        return tuple(self.stride * 2**stage for stage in range(self.stages))

    def entry(self) -> nn.Module:
        """Return what the first stage begins with: the max pool where the stem leaves it to the stage."""
        pools = self.stride > self.make_stem.stride
        return nn.MaxPool2d(3, stride=2, padding=1) if pools else nn.Identity()

    def stem_map(self, width: int) -> int:
        """Channels of the stem's output where it is a feature map of its own; 0 where the first stage has its size."""
        return width if self.stride > self.make_stem.stride else 0


_FORMS: dict[str, Form] = {"cifar": Form(3, 1, CifarStem), "imagenet": Form(4, 4, ImageNetStem)}


def checked_form(check: Arguments, stem: FormName) -> Form:
    """Return the form that a network's argument `stem` names; on a mistake, a stand-in that lets checking go on."""
    check.one_of("stem", stem, list(_FORMS))
    return _FORMS.get(stem, _FORMS["cifar"])
