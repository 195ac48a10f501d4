"""Datasets of a config: splits and transforms."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from skipweave.data.augmentation import Transform, eval_transform, train_transform
from skipweave.data.division import complete
from skipweave.data.image_datasets import FileDataset, ImageDataset
from skipweave.data.named_datasets import read
from skipweave.data.preprocessing import Preprocessing
from skipweave.data.segmentation import SegmentationData, load_segmentation
from skipweave.data.splits import Labels, class_counts
from skipweave.data.value_statistics import fit_normalization
from skipweave_config.errors import SkipweaveError
from skipweave_config.data_config import SEGMENTATION_NAMES, DataConfig


@dataclass(frozen=True)
class ClassificationData:
    """Classification dataset, split and ready for `epoch_loader`.

    Attributes:
        name: Name of the dataset.
        classes: Class names, by label.
        train: Training split: CHW tensors (uint8, or float32 for more than 8 bits) with their labels, not transformed.
        val: Validation split, used to choose a checkpoint; None if there is none.
        test: Test split; None if there is none.
        train_transform: Image to normalized float32 CHW tensor, with augmentation if enabled.
        eval_transform: The same without augmentation.
        balanced: Whether every class is drawn equally often in training.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageDataset
    val: ImageDataset | None
    test: ImageDataset | None
    train_transform: Transform
    eval_transform: Preprocessing
    balanced: bool = False

    @property
    def balance(self) -> Labels | None:
        """Labels by which training images are drawn; None draws every image once per epoch."""
        return self.train.labels if self.balanced else None

    @property
    def preprocessing(self) -> Preprocessing:
        """Evaluation preprocessing, stored with the weights."""
        return self.eval_transform

    @property
    def multi_label(self) -> bool:
        """Whether an image has any number of labels, or exactly one."""
        return self.train.labels.ndim > 1

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Number of training images of each class."""
        return tuple(class_counts(self.train.labels, len(self.classes)).tolist())

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
    """Check that a dataset has at least two classes, or one that an image has or has not.

    Raises:
        SkipweaveError: The dataset has one class, which all images have.
    """
    if len(data.classes) > 1 or (isinstance(data, ClassificationData) and data.multi_label):
        return
    advice = (
        "add void or another class to the class list"
        if isinstance(data, SegmentationData)
        else "add images of another class, such as those without it"
    )
    raise SkipweaveError(f"{data.name} has one class, {data.classes[0]}: expected at least two; {advice}")


def with_normalization(config: DataConfig, data: ClassificationData | SegmentationData) -> DataConfig:
    """Return a config with the range or window, mean and std found by loading, so that loading it again is the same."""
    own = data.preprocessing
    if own.range is None:
        return config
    low, high = own.range
    if own.clip:
        return replace(config, window=((low + high) / 2, high - low), mean=own.mean, std=own.std)
    return replace(config, range=own.range, mean=own.mean, std=own.std)


def _load_classification(config: DataConfig, progress: Callable[[int, int], None] | None) -> ClassificationData:
    splits = complete(read(config), config)
    if config.sampling and splits.train.labels.ndim > 1:
        raise SkipweaveError(
            f"data.sampling is {config.sampling}, but images of {config.name} have several labels: use "
            f"loss.class_weights balanced"
        )
    evaluation = eval_transform(config)
    if isinstance(splits.train, FileDataset):
        evaluation = evaluation.with_channels(splits.train.in_chans)
        evaluation = fit_normalization(evaluation, config, splits.train, progress)
    return ClassificationData(
        name=config.name,
        classes=splits.classes,
        train=splits.train,
        val=splits.val,
        test=splits.test,
        train_transform=train_transform(config, evaluation),
        eval_transform=evaluation,
        balanced=config.sampling == "balanced",
    )
