"""Load a configured data set: its splits and what its images go through."""

from dataclasses import dataclass

from skipweave.data.config import LABEL_MAP_NAMES, DataConfig
from skipweave.data.images import ImageSet
from skipweave.data.preprocessing import Preprocessing
from skipweave.data.readers import read
from skipweave.data.segmentation import SegmentationData, load_segmentation
from skipweave.data.splits import stratified_split
from skipweave.data.transforms import Transform, eval_transform, train_transform


@dataclass(frozen=True)
class ImageData:
    """A labelled set of images, split and ready for `epoch_loader`.

    Attributes:
        name: of the data set.
        classes: their names, by label.
        train: images to learn from: uint8 CHW tensors with their labels, not transformed.
        val: images for choosing between checkpoints; None if there are none.
        test: images for the figure to report; None if there are none.
        train_transform: image to normalised float32 CHW tensor, augmented at random if asked.
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


def load(config: DataConfig) -> ImageData | SegmentationData:
    """Load a data set: images with a label each, or with label maps, as its name says.

    The validation images are taken from the training split unless the set comes with its own; which ones depends on
    the data set and `config.split_seed` alone.

    Args:
        config: which set, from where, and how.

    Returns:
        Its splits and transforms.

    Raises:
        SkipweaveError: the data set is missing or damaged, or has not enough images for the split.
    """
    return load_segmentation(config) if config.name in LABEL_MAP_NAMES else _load_images(config)


def _load_images(config: DataConfig) -> ImageData:
    splits = read(config)
    train, val = splits.train, splits.val
    if val is None and config.validation:
        kept, held = stratified_split(train.labels, config.validation, config.split_seed, "validation")
        train, val = train.subset(kept), train.subset(held)
    evaluation = eval_transform(config)
    return ImageData(
        name=config.name,
        classes=splits.classes,
        train=train,
        val=val,
        test=splits.test,
        train_transform=train_transform(config, evaluation),
        eval_transform=evaluation,
    )
