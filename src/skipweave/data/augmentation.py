"""Training and evaluation transforms of the classification datasets, as the papers define them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms import v2

from skipweave.data.preprocessing import Preprocessing
from skipweave_config.data_config import DataConfig

Transform = Callable[[Tensor], Tensor]


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


def eval_transform(config: DataConfig) -> Preprocessing:
    """Build the evaluation transform of a dataset.

    Small images are resized to their side. Photographs are resized to 8/7 of it (256 for 224), then center cropped, as
    in fb.resnet.torch.
    """
    images = _IMAGES[config.name]
    side = config.image_size or images.side
    resize = round(side * 8 / 7) if images.photographs else side
    return Preprocessing(channels=len(images.mean), resize=resize, crop=side, mean=images.mean, std=images.std)


def train_transform(config: DataConfig, evaluation: Preprocessing) -> Transform:
    """Build the training transform of a dataset; the evaluation transform where augmentation is off.

    - Small images: random shift by up to an eighth of the side with zero padding (CIFAR's "+": 4 of 32 pixels), and
      horizontal flips for CIFAR. SVHN is shifted but not flipped, as in Log-DenseNet.
    - ImageNet: random resized crops (area 8 to 100 %, aspect ratio 3/4 to 4/3), flips, brightness, contrast and
      saturation jitter of 0.4, PCA lighting of 0.1 (SparseNet, SeqConv, DelugeNets).
    - Your own photographs: as ImageNet, without color augmentation.
    """
    images = _IMAGES[config.name]
    if not config.augment:
        return evaluation
    assert evaluation.crop is not None
    if not images.photographs:
        steps = [evaluation.fit, RandomShift(evaluation.crop // 8)]
        return v2.Compose([*steps, *([v2.RandomHorizontalFlip()] if images.flip else []), evaluation.normalize])
    steps = [v2.RandomResizedCrop(evaluation.crop, antialias=True), v2.RandomHorizontalFlip()]
    if config.name != "imagenet":
        return v2.Compose([*steps, evaluation.normalize])
    recolor = [v2.ColorJitter(0.4, 0.4, 0.4), v2.ToDtype(torch.float32, scale=True), Lighting(0.1)]
    return v2.Compose([*steps, *recolor, v2.Normalize(evaluation.mean, evaluation.std)])


class RandomShift(nn.Module):
    """Random translation of an image with zero padding.

    Equals `v2.RandomCrop(side, padding=pixels)` on images of that side, in a third of its time.

    Args:
        pixels: Largest shift per axis; shifts are drawn uniformly.
    """

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, image: Tensor) -> Tensor:
        """Shift one CHW image."""
        height, width = image.shape[-2:]
        top, left = torch.randint(2 * self.pixels + 1, (2,)).tolist()
        return functional.pad(image, [self.pixels] * 4)[..., top : top + height, left : left + width]


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
