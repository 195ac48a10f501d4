"""Mixup and CutMix on whole batches."""

from collections.abc import Callable

from torch import Tensor
from torchvision.transforms import v2

from skipweave_config.recipe import MixConfig

Mixer = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def make_mixer(config: MixConfig, classes: int) -> Mixer | None:
    """Create a transform of images (N, C, H, W) and labels (N,), whose randomness comes from torch's CPU generator.

    Args:
        config: The config.
        classes: Number of classes.

    Returns:
        A function of images and labels, which returns mixed images and labels (N, classes), or both as they were; None
        if nothing is to be mixed.
    """
    kinds = {v2.MixUp: config.mixup, v2.CutMix: config.cutmix}
    transforms = [kind(alpha=alpha, num_classes=classes) for kind, alpha in kinds.items() if alpha]
    return v2.RandomApply([v2.RandomChoice(transforms)], p=config.probability) if transforms else None
