"""What each data set's images go through: the papers' training transforms and normalization."""

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
    """How a data set's images look: side in pixels, mean and std a channel on [0, 1], whether a mirror image is one."""

    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mirror: bool = False
    photographs: bool = False


# Of fb.resnet.torch, which DenseNet, SeqConv and DelugeNets follow.
_IMAGENET = _Images(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), mirror=True, photographs=True)
_IMAGES = {
    # All 1,797 scans.
    "digits": _Images(8, (0.3053,), (0.3759,)),
    # The 60,000 training images; PyTorch's MNIST example.
    "mnist": _Images(28, (0.1307,), (0.3081,)),
    # The 50,000 training images; fb.resnet.torch, datasets/cifar10.lua and cifar100.lua.
    "cifar10": _Images(32, (125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255), mirror=True),
    "cifar100": _Images(32, (129.3 / 255, 124.1 / 255, 112.4 / 255), (68.2 / 255, 65.4 / 255, 70.4 / 255), mirror=True),
    # The 73,257 training images, without the extra ones.
    "svhn": _Images(32, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "imagenet": _IMAGENET,
    "folder": _IMAGENET,
}


def eval_transform(config: DataConfig) -> Preprocessing:
    """The evaluation transform of a data set.

    Small images are brought to their side as a whole; of photographs the shorter side becomes 8/7 of it (256 for 224),
    then the center is cut out (fb.resnet.torch).
    """
    images = _IMAGES[config.name]
    side = config.image_size or images.side
    resize = round(side * 8 / 7) if images.photographs else side
    return Preprocessing(channels=len(images.mean), resize=resize, crop=side, mean=images.mean, std=images.std)


def train_transform(config: DataConfig, evaluation: Preprocessing) -> Transform:
    """The training transform of a data set; that of evaluation unless the configuration asks for augmentation.

    - Small images: shifted by up to an eighth of the side into zeros (CIFAR's "+": 4 of 32 pixels), CIFAR mirrored
      half the time. SVHN as in Log-DenseNet: shifted, not mirrored.
    - ImageNet: area 8 to 100 %, aspect 3/4 to 4/3, mirrored, brightness, contrast and saturation by up to 0.4, PCA
      lighting 0.1 (SparseNet, SeqConv, DelugeNets).
    - A folder of photographs: the same without the changes of color.
    """
    images = _IMAGES[config.name]
    if not config.augment:
        return evaluation
    if not images.photographs:
        steps = [evaluation.fit, RandomShift(evaluation.crop // 8)]
        return v2.Compose([*steps, *([v2.RandomHorizontalFlip()] if images.mirror else []), evaluation.normalize])
    steps = [v2.RandomResizedCrop(evaluation.crop, antialias=True), v2.RandomHorizontalFlip()]
    if config.name == "folder":
        return v2.Compose([*steps, evaluation.normalize])
    recolor = [v2.ColorJitter(0.4, 0.4, 0.4), v2.ToDtype(torch.float32, scale=True), Lighting(0.1)]
    return v2.Compose([*steps, *recolor, v2.Normalize(evaluation.mean, evaluation.std)])


class RandomShift(nn.Module):
    """Shift an image by a random number of pixels either way, filling with zeros.

    Equals `v2.RandomCrop(side, padding=pixels)` on images of that side, at a third of its time.

    Args:
        pixels: the largest shift; every shift within it is equally likely.
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
    """Shift a picture's color along the principal components of ImageNet's colors (Krizhevsky et al., 2012).

    The components are those of fb.resnet.torch.

    Args:
        scale: standard deviation of the weight of each component.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        values = torch.tensor([0.2175, 0.0188, 0.0045])
        vectors = torch.tensor([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
        self.register_buffer("components", vectors * values)
        self.components: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """Shift one float CHW image on the scale [0, 1]."""
        return image + (self.components @ torch.randn(3).mul(self.scale)).view(3, 1, 1)
