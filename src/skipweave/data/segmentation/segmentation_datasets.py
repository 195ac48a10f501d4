"""Load a configured set of images with label maps: its splits and what they go through."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from skipweave.data.segmentation.class_list import Color
from skipweave.data.segmentation.image_mask_pairs import SegmentationImages
from skipweave.data.segmentation.joint_transforms import EvalPair, TrainPair
from skipweave.data.segmentation.mask_folders import read_splits
from skipweave.data.segmentation.whole_image import WholeImage
from skipweave.data.value_statistics import normalized_for
from skipweave_config.data_config import DataConfig

# (mean, std) of each channel on [0, 1].
_STATISTICS = {
    # Of Log-DenseNet's released code. Its paper says that nothing is done; but a network whose first convolution sees
    # centerd values starts better, and up to the border it is the same function.
    "camvid": ((0.3907, 0.4052, 0.4143), (0.2965, 0.3051, 0.3008)),
    # Of ImageNet's photographs.
    "masks": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@dataclass(frozen=True)
class SegmentationData:
    """Images with label maps, split and ready for `epoch_loader`.

    Attributes:
        name: of the set.
        classes: their names, by label.
        palette: the RGB color of each label, the last for void.
        values: the value of each class in index images, by label.
        colored: whether the class list gives colors.
        train: images to learn from: pairs of CHW pixels and uint8 HW labels, not transformed.
        val: images for choosing between checkpoints; None if there are none.
        test: images for the figure to report; None if there are none.
        train_transform: (image, labels) to (normalized float32 CHW, int64 HW), cropped and mirrored at random if asked.
        eval_transform: (image, labels) to (normalized whole image, int64 labels as they are).
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    values: tuple[int, ...]
    colored: bool
    train: SegmentationImages
    val: SegmentationImages | None
    test: SegmentationImages | None
    train_transform: TrainPair
    eval_transform: EvalPair

    @property
    def void(self) -> int:
        """The label of pixels that are neither learned nor scored: one above the last class."""
        return len(self.classes)

    @property
    def preprocessing(self) -> WholeImage:
        """What an image alone goes through before a network sees it; plain data to be stored with the weights."""
        return self.eval_transform.preprocessing

    @property
    def in_chans(self) -> int:
        """Channels of a transformed image."""
        return self.preprocessing.channels

    @cached_property
    def image_size(self) -> tuple[int, int]:
        """Height and width of a training image: the crop's, or those of the first one where they are whole."""
        side = self.train_transform.crop
        height, width = (side, side) if side else self.train_transform(*self.train[0])[1].shape
        return height, width


def load_segmentation(config: DataConfig, progress: Callable[[int, int], None] | None = None) -> SegmentationData:
    """Find and pair the files of a set; images are read when they are asked for.

    Args:
        config: which set, from where, and how.
        progress: as for `load`.

    Returns:
        Its splits and transforms.

    Raises:
        SkipweaveError: folders or the class list are missing or wrong, files cannot be paired, or there are not enough
            images for the split.
    """
    splits = read_splits(config)
    classes = splits.train.classes
    mean, std = _STATISTICS[config.name]
    plain = WholeImage(channels=3, resize=config.image_size, mean=mean, std=std)
    preprocessing = normalized_for(plain, config, splits.train, progress)
    return SegmentationData(
        name=config.name,
        classes=classes.names,
        palette=classes.palette,
        values=classes.values,
        colored=classes.colored,
        train=splits.train,
        val=splits.val,
        test=splits.test,
        train_transform=TrainPair(preprocessing, classes.void, config.crop, config.augment),
        eval_transform=EvalPair(preprocessing),
    )
