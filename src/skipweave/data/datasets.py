"""Load a configured data set: its splits and what its images go through."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from skipweave.data.augmentation import Transform, eval_transform, train_transform
from skipweave.data.image_sets import FileImages, ImageSet
from skipweave.data.named_datasets import read
from skipweave.data.preprocessing import Preprocessing
from skipweave.data.segmentation import SegmentationData, load_segmentation
from skipweave.data.splits import stratified_split
from skipweave.data.value_statistics import normalized_for
from skipweave.errors import SkipweaveError
from skipweave_config.data_config import SEGMENTATION_NAMES, DataConfig


@dataclass(frozen=True)
class ImageData:
    """A labeled set of images, split and ready for `epoch_loader`.

    Attributes:
        name: of the data set.
        classes: their names, by label.
        train: images to learn from: CHW tensors (uint8; of more than 8 bits float32) with their labels, not
            transformed.
        val: images for choosing between checkpoints; None if there are none.
        test: images for the figure to report; None if there are none.
        train_transform: image to normalized float32 CHW tensor, augmented at random if asked.
        eval_transform: the same without randomness; also the description of the preprocessing.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSet
    val: ImageSet | None
    test: ImageSet | None
    train_transform: Transform
    eval_transform: Preprocessing

    @property
    def preprocessing(self) -> Preprocessing:
        """What an image goes through before a network sees it; plain data to be stored with the weights."""
        return self.eval_transform

    @property
    def in_chans(self) -> int:
        """Channels of a transformed image."""
        return self.preprocessing.channels

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of a transformed image."""
        return self.preprocessing.crop, self.preprocessing.crop


def load(config: DataConfig, progress: Callable[[int, int], None] | None = None) -> ImageData | SegmentationData:
    """Load a data set: images with a label each, or with label maps, as its name says.

    The validation images are taken from the training split unless the set comes with its own; which ones depends on
    the data set and `config.split_seed` alone.

    Args:
        config: which set, from where, and how.
        progress: where all training images must be read first, to find the range of their values: called with (images
            read, images in all) after each.

    Returns:
        Its splits and transforms.

    Raises:
        SkipweaveError: the data set is missing or damaged, or has not enough images for the split.
    """
    if config.name in SEGMENTATION_NAMES:
        return load_segmentation(config, progress)
    return _load_images(config, progress)


def check_classes(data: ImageData | SegmentationData) -> None:
    """Check that there is something to learn.

    Raises:
        SkipweaveError: there is one class only.
    """
    if len(data.classes) == 1:
        raise SkipweaveError(
            f"{data.name} has one class, {data.classes[0]}: a network that always names it makes no error, so there is "
            f"nothing to learn; give at least two"
        )


def as_loaded(config: DataConfig, data: ImageData | SegmentationData) -> DataConfig:
    """A configuration with what was found when its data was loaded, so that loading it again finds the same."""
    own = data.preprocessing
    return config if own.range is None else replace(config, range=own.range, mean=own.mean, std=own.std)


def _load_images(config: DataConfig, progress: Callable[[int, int], None] | None) -> ImageData:
    splits = read(config)
    train, val = splits.train, splits.val
    if val is None and config.validation:
        kept, held = stratified_split(train.labels, config.validation, config.split_seed, "validation")
        train, val = train.subset(kept), train.subset(held) if len(held) else None
    evaluation = eval_transform(config)
    if isinstance(train, FileImages):
        evaluation = normalized_for(evaluation, config, train, progress)
    return ImageData(
        name=config.name,
        classes=splits.classes,
        train=train,
        val=val,
        test=splits.test,
        train_transform=train_transform(config, evaluation),
        eval_transform=evaluation,
    )
