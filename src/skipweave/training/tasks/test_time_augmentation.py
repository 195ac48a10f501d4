"""Test-time augmentation: mean logits over transformed copies of an image."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from skipweave_config.errors import SkipweaveError
from skipweave_config.recipe import TestTimeAugmentation

Heads = Callable[[Tensor], Sequence[Tensor]]


def augmented(heads: Heads, tta: TestTimeAugmentation, *, pixels: bool = False) -> Heads:
    """Heads that return mean logits over views of each image.

    Args:
        heads: Images (N, C, H, W) to the logits of each head.
        tta: `none`; `flip`, the image and its mirror image; or `flip_shift`, in which these count one half, and crops
            shifted by one pixel up and left, and down and right, of each, padded by reflection, the other half.
        pixels: Whether logits are (N, classes, h, w): those of mirror images are mirrored. Shifts are not for these.

    Raises:
        SkipweaveError: Shifts are asked for, and the logits are those of pixels.
    """
    if pixels and tta == "flip_shift":
        raise SkipweaveError("tta is 'flip_shift', which is for classification: give flip for segmentation masks")
    return {"none": heads, "flip": _flipped(heads), "flip_shift": _shifted(_flipped(heads))}[tta]


def _flipped(heads: Heads) -> Heads:
    def mean(images: Tensor) -> Sequence[Tensor]:
        mirrored = heads(images.flip(-1))
        back = [logits.flip(-1) if logits.dim() == 4 else logits for logits in mirrored]
        return [(one + other) / 2 for one, other in zip(heads(images), back, strict=True)]

    return mean


def _shifted(heads: Heads) -> Heads:
    def mean(images: Tensor) -> Sequence[Tensor]:
        height, width = images.shape[-2:]
        padded = functional.pad(images, (1, 1, 1, 1), mode="reflect")
        crops = [padded[..., :height, :width], padded[..., 2:, 2:]]
        views = [heads(view) for view in (images, *crops)]
        return [torch.stack([of[0] / 2, of[1] / 4, of[2] / 4]).sum(0) for of in zip(*views, strict=True)]

    return mean
