"""Datasets of a config: splits and transforms."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from skipweave.data.augmentation import TrainTransform, eval_transform, train_transform
from skipweave.data.image_datasets import FileDataset, ImageDataset
from skipweave.data.named_datasets import read
from skipweave.data.preprocessing import Preprocessing
from skipweave.data.segmentation import SegmentationData, load_segmentation
from skipweave.data.splits import stratified_split
from skipweave.data.value_statistics import fit_normalization
from skipweave_config.data_config import SEGMENTATION_NAMES, DataConfig
from skipweave_config.errors import SkipweaveError


@dataclass(frozen=True)
class ClassificationData:
    """Classification dataset, split and ready for `epoch_loader`.

    Attributes:
        name: Name of the dataset.
        classes: Class names, by label.
        train: Training split: CHW tensors (uint8, or float32 for more than 8 bits) with their labels, not transformed.
        val: Validation split, used to choose a checkpoint; None if there is none.
        test: Test split; None if there is none.
        train_transform: Images to normalized float32 tensors, with augmentation if enabled, for `epoch_loader`.
        eval_transform: Image to normalized float32 CHW tensor.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageDataset
    val: ImageDataset | None
    test: ImageDataset | None
    train_transform: TrainTransform
    eval_transform: Preprocessing

    @property
    def preprocessing(self) -> Preprocessing:
        """Evaluation preprocessing, stored with the weights."""
        return self.eval_transform

    @property
    def in_chans(self) -> int:
        """Channels of a transformed image."""
        return self.preprocessing.channels

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of a transformed image."""
        assert self.preprocessing.image_size
        return self.preprocessing.image_size


def load(
    config: DataConfig, progress: Callable[[int, int], None] | None = None
) -> ClassificationData | SegmentationData:
    """Load a dataset for classification or segmentation, depending on its name.

    Validation images are taken from the training split unless the dataset has a validation split. Which ones depends
    only on the dataset and on `config.split_seed`.

    Args:
        config: Dataset, its location and options.
        progress: Called with (images read, total images) after each image, if all training images have to be read to
            find the range of their values.

    Raises:
        SkipweaveError: The dataset is missing or damaged, or has too few images for the split.
    """
    if config.name in SEGMENTATION_NAMES:
        return load_segmentation(config, progress)
    return _load_classification(config, progress)


def check_classes(data: ClassificationData | SegmentationData) -> None:
    """Check that a dataset has at least two classes.

    Raises:
        SkipweaveError: The dataset has one class.
    """
    if len(data.classes) == 1:
        raise SkipweaveError(f"{data.name} has one class, {data.classes[0]}: expected at least two")


def with_normalization(config: DataConfig, data: ClassificationData | SegmentationData) -> DataConfig:
    """Return a config with the range, mean and std found while loading, so that loading it again finds the same."""
    own = data.preprocessing
    return config if own.range is None else replace(config, range=own.range, mean=own.mean, std=own.std)


def _load_classification(config: DataConfig, progress: Callable[[int, int], None] | None) -> ClassificationData:
    splits = read(config)
    train, val = splits.train, splits.val
    if val is None and config.validation:
        kept, held = stratified_split(train.labels, config.validation, config.split_seed, "validation")
        train, val = train.subset(kept), train.subset(held) if len(held) else None
    evaluation = eval_transform(config)
    if isinstance(train, FileDataset):
        evaluation = fit_normalization(evaluation, config, train, progress)
    return ClassificationData(
        name=config.name,
        classes=splits.classes,
        train=train,
        val=val,
        test=splits.test,
        train_transform=train_transform(config, evaluation),
        eval_transform=evaluation,
    )
