"""Segmentation datasets of a config: splits and transforms."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from skipweave.data.preprocessing import Preprocessing
from skipweave.data.segmentation.class_list import Color
from skipweave.data.segmentation.image_mask_pairs import SegmentationDataset
from skipweave.data.segmentation.joint_transforms import JointEvalTransform, JointTrainTransform
from skipweave.data.segmentation.mask_folders import read_splits
from skipweave.data.value_statistics import fit_normalization
from skipweave_config.data_config import DataConfig
from skipweave_config.errors import SkipweaveError

# (mean, std) of each channel on [0, 1].
_STATISTICS = {
    # From Log-DenseNet's released code. Its paper uses no normalization, but training starts better from centered
    # values, and except at the border the network is the same function.
    "camvid": ((0.3907, 0.4052, 0.4143), (0.2965, 0.3051, 0.3008)),
    # From ImageNet.
    "masks": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@dataclass(frozen=True)
class SegmentationData:
    """Segmentation dataset, split and ready for `epoch_loader`.

    Attributes:
        name: Name of the dataset.
        classes: Class names, by label.
        palette: RGB color of each label, the last for void.
        values: Value of each class in index masks, by label.
        colored: Whether the class list has colors.
        train: Training split: pairs of a CHW image and a uint8 HW mask, not transformed.
        val: Validation split, used to choose a checkpoint; None if there is none.
        test: Test split; None if there is none.
        train_transform: (image, mask) to (normalized float32 CHW, int64 HW), augmented if enabled.
        eval_transform: (image, mask) to (normalized whole image, int64 mask of full resolution).
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    values: tuple[int, ...]
    colored: bool
    train: SegmentationDataset
    val: SegmentationDataset | None
    test: SegmentationDataset | None
    train_transform: JointTrainTransform
    eval_transform: JointEvalTransform

    @property
    def splits(self) -> dict[str, SegmentationDataset | None]:
        """The splits by name: train, validation and test."""
        return {"train": self.train, "validation": self.val, "test": self.test}

    @property
    def balance(self) -> None:
        """Every image is drawn once per epoch."""
        return None

    @property
    def void(self) -> int:
        """Label of ignored pixels: one above the last class."""
        return len(self.classes)

    @property
    def preprocessing(self) -> Preprocessing:
        """Evaluation preprocessing of the images, stored with the weights."""
        return self.eval_transform.preprocessing

    @property
    def in_chans(self) -> int:
        """Channels of a transformed image."""
        return self.preprocessing.channels

    @cached_property
    def image_size(self) -> tuple[int, int]:
        """Height and width of a training image: those of the crop, or of the first image without cropping."""
        side = self.train_transform.crop
        height, width = (side, side) if side else self.train_transform(*self.train[0])[1].shape
        return height, width


def load_segmentation(config: DataConfig, progress: Callable[[int, int], None] | None = None) -> SegmentationData:
    """Load a segmentation dataset; images are decoded on access.

    Raises:
        SkipweaveError: Folders or the class list are missing or invalid, files cannot be paired, or there are too few
            images for the split; or color augmentation is asked for, and images have more than 8 bits.
    """
    splits = read_splits(config)
    classes = splits.train.classes
    mean, std = (given or own for given, own in zip((config.mean, config.std), _STATISTICS[config.name], strict=True))
    plain = Preprocessing(channels=3, resize=config.image_size, mean=mean, std=std)
    if config.color and splits.train.high_bit_depth:
        raise SkipweaveError(
            f"data.color is {config.color}, but the images of {config.name} have more than 8 bits: leave it out"
        )
    preprocessing = fit_normalization(plain, config, splits.train, progress)
    flip = (config.flip or "horizontal") if config.augment else "none"
    return SegmentationData(
        name=config.name,
        classes=classes.names,
        palette=classes.palette,
        values=classes.values,
        colored=classes.colored,
        train=splits.train,
        val=splits.val,
        test=splits.test,
        train_transform=JointTrainTransform(
            preprocessing, classes.void, config.crop, flip, config.scale, config.color or 0.0
        ),
        eval_transform=JointEvalTransform(preprocessing),
    )
