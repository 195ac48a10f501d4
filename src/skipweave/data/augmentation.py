"""Training and evaluation transforms of the classification datasets; the defaults are those of the papers."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from skipweave.data.batch_augmentation import BatchAugmentation, TrainTransform, Transform
from skipweave.data.preprocessing import Preprocessing
from skipweave_config.data_config import DataConfig
from skipweave_config.errors import SkipweaveError

# Radius of the filter of a Gaussian blur, in standard deviations.
_BLUR_REACH = 3
_AUTO_AUGMENT = {"randaugment": v2.RandAugment, "trivialaugment": v2.TrivialAugmentWide}


@dataclass(frozen=True)
class _Images:
    """Properties of a dataset's images: side in pixels, mean and std per channel on [0, 1], kind."""

    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool = False
    photographs: bool = False


# From fb.resnet.torch, which DenseNet, SeqConv and DelugeNets follow.
_IMAGENET = _Images(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), flip=True, photographs=True)
_IMAGES = {
    # All 1,797 scans.
    "digits": _Images(8, (0.3053,), (0.3759,)),
    # The 60,000 training images; PyTorch's MNIST example.
    "mnist": _Images(28, (0.1307,), (0.3081,)),
    # The 50,000 training images; fb.resnet.torch, datasets/cifar10.lua and cifar100.lua.
    "cifar10": _Images(32, (125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255), flip=True),
    "cifar100": _Images(32, (129.3 / 255, 124.1 / 255, 112.4 / 255), (68.2 / 255, 65.4 / 255, 70.4 / 255), flip=True),
    # The 73,257 training images, without the extra ones.
    "svhn": _Images(32, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "imagenet": _IMAGENET,
    "folder": _IMAGENET,
    "csv": _IMAGENET,
    "hub": _IMAGENET,
    "python": _IMAGENET,
}


def eval_transform(config: DataConfig, channels: int | None = None) -> Preprocessing:
    """Build the evaluation transform of a dataset.

    By default small images are resized to their side; photographs are resized to 8/7 of it (256 for 224), then center
    cropped, as in fb.resnet.torch.

    Args:
        config: Config of the dataset.
        channels: Channels of the images, by default those that the images of this dataset usually have.

    Raises:
        SkipweaveError: The mean or std of the config does not have one number per channel.
    """
    images = _IMAGES[config.name]
    side = config.image_size or images.side
    resize = config.resize or (round(side * 8 / 7) if images.photographs else side)
    usual = Preprocessing(channels=len(images.mean), resize=resize, crop=side, mean=images.mean, std=images.std)
    plain = usual.with_channels(channels or usual.channels)
    return replace(plain, mean=config.mean or plain.mean, std=config.std or plain.std)


def train_transform(config: DataConfig, evaluation: Preprocessing) -> TrainTransform:
    """Build the training transform of a dataset, whose defaults are those of the papers.

    - Small images: random shift by up to an eighth of the side (CIFAR's "+": 4 of 32 pixels), and horizontal flips for
      CIFAR. SVHN is shifted but not flipped, as in Log-DenseNet, which also blurs it, to an extent that it does not
      state (`data.blur`), and crops CIFAR to 28x28 pixels by its text, but 32x32 by its code and operation counts.
    - ImageNet: random resized crops (area 8 to 100 %, aspect ratio 3/4 to 4/3), flips, brightness, contrast and
      saturation jitter of 0.4, PCA lighting of 0.1 (SparseNet, SeqConv, DelugeNets).
    - Your own photographs: as ImageNet, without color augmentation.

    Raises:
        SkipweaveError: Color augmentation is asked for, and the images do not have 8 bits and 1 or 3 channels; shifts
            are larger than the images; or padding is asked for without shifts.
    """
    assert evaluation.crop is not None
    if not config.augment:
        return unaugmented(evaluation)
    images = _IMAGES[config.name]
    shift = _shift(config, evaluation.crop)
    steps = [*_geometry(config, evaluation), *_blur(config, evaluation), *_color(config, evaluation)]
    normalized = any(isinstance(step, v2.Normalize) for step in steps)
    if config.erasing:
        steps += [*([] if normalized else [evaluation.normalize]), v2.RandomErasing(config.erasing)]
    return TrainTransform(
        per_image=v2.Compose(steps) if steps else None,
        per_batch=BatchAugmentation(
            normalize=None if normalized or config.erasing else evaluation.normalize,
            flip=config.flip or ("horizontal" if images.flip else "none"),
            shift=shift,
            padding=config.padding,
            black=tuple(-mean / std for mean, std in zip(evaluation.mean, evaluation.std, strict=True)),
            cutout=config.cutout,
        ),
    )


def unaugmented(evaluation: Preprocessing) -> TrainTransform:
    """The evaluation transform as a training transform."""
    return TrainTransform(evaluation, BatchAugmentation(None))


def _shift(config: DataConfig, side: int) -> int:
    shift = (0 if _IMAGES[config.name].photographs else side // 8) if config.shift is None else config.shift
    if shift >= side:
        raise SkipweaveError(f"data.shift is {shift}: expected less than the side of the images, {side}")
    if not shift and config.padding != "zeros":
        raise SkipweaveError(
            f"data.padding is {config.padding}, but images are not shifted: give data.shift, or leave it out"
        )
    return shift


def _geometry(config: DataConfig, evaluation: Preprocessing) -> list[Transform]:
    crop_scale = config.crop_scale or ((0.08, 1.0) if _IMAGES[config.name].photographs else None)
    if crop_scale is None:  # images in memory have the side of their dataset
        return [] if evaluation.resize == evaluation.crop == _IMAGES[config.name].side else [evaluation.fit]
    assert evaluation.crop is not None
    return [v2.RandomResizedCrop(evaluation.crop, scale=crop_scale, antialias=True)]


def _blur(config: DataConfig, evaluation: Preprocessing) -> list[Transform]:
    if config.blur is None:
        return []
    radius = math.ceil(_BLUR_REACH * config.blur[1])
    assert evaluation.crop is not None
    if radius >= evaluation.crop:
        raise SkipweaveError(
            f"data.blur is {list(config.blur)}: expected standard deviations below {evaluation.crop / _BLUR_REACH:g}, "
            f"since images have a side of {evaluation.crop}"
        )
    return [v2.GaussianBlur(2 * radius + 1, config.blur)]


def color_jitter(strength: float) -> Transform:
    """Jitter of brightness, contrast and saturation of 8-bit images, by factors of 1 - `strength` to 1 + `strength`."""
    return v2.ColorJitter(strength, strength, strength)


def _color(config: DataConfig, evaluation: Preprocessing) -> list[Transform]:
    imagenet = config.name == "imagenet"
    jitter = config.color if config.color is not None else 0.4 if imagenet else 0.0
    for name, value in (("color", jitter), ("auto_augment", config.auto_augment != "none")):
        if value and (evaluation.range or evaluation.channels not in (1, 3)):
            raise SkipweaveError(
                f"data.{name} is {getattr(config, name)}, but the images of {config.name} have {evaluation.channels} "
                f"channels and values in {evaluation.range or (0, 255)}: expected 8-bit images of 1 or 3 channels"
            )
    steps: list[Transform] = [_AUTO_AUGMENT[config.auto_augment]()] if config.auto_augment != "none" else []
    if jitter:
        steps.append(color_jitter(jitter))
    if jitter and imagenet:
        scale = v2.ToDtype(torch.float32, scale=True)
        steps += [scale, Lighting(jitter / 4), v2.Normalize(evaluation.mean, evaluation.std)]
    return steps


class Lighting(nn.Module):
    """PCA color augmentation along the principal components of ImageNet's colors (Krizhevsky et al., 2012).

    The components are those of fb.resnet.torch.

    Args:
        scale: Standard deviation of the weight of each component.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        values = torch.tensor([0.2175, 0.0188, 0.0045])
        vectors = torch.tensor([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
        self.register_buffer("components", vectors * values)
        self.components: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """Shift the color of one float CHW image on the scale [0, 1]."""
        return image + (self.components @ torch.randn(3).mul(self.scale)).view(3, 1, 1)
