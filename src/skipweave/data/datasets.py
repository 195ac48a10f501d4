"""Datasets of a config: splits and transforms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from skipweave.data.augmentation import TrainTransform, eval_transform, train_transform, unaugmented
from skipweave.data.division import complete
from skipweave.data.image_datasets import FileDataset, ImageDataset
from skipweave.data.preprocessing import Preprocessing
from skipweave.data.segmentation import SegmentationData, load_segmentation
from skipweave.data.segmentation.joint_transforms import JointEvalTransform
from skipweave.data.sources.named_datasets import read
from skipweave.data.sources.python_datasets import PythonDataset
from skipweave.data.splits import Labels, class_counts
from skipweave.data.value_statistics import fit_normalization
from skipweave_config.data_config import DEEP_NAMES, SEGMENTATION_NAMES, DataConfig
from skipweave_config.errors import SkipweaveError
from skipweave_config.printable import unicode_text


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
        balanced: Whether every class is drawn equally often in training.
        notes: Notes about how the dataset was read, one line each.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageDataset
    val: ImageDataset | None
    test: ImageDataset | None
    train_transform: TrainTransform
    eval_transform: Preprocessing
    balanced: bool = False
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[str, ImageDataset | None]:
        """The splits by name: train, validation and test."""
        return {"train": self.train, "validation": self.val, "test": self.test}

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
    config: DataConfig,
    progress: Callable[[int, int], None] | None = None,
    datasets: Mapping[str, Any] | None = None,
) -> ClassificationData | SegmentationData:
    """Load a dataset for classification or segmentation, depending on its name.

    Validation images are taken from the training split unless the dataset has a validation split. Which ones depends
    only on the dataset and on `config.split_seed`.

    Args:
        config: Dataset, its location and options.
        progress: Called with (images read, total images) after each image, if all training images have to be read to
            find the range of their values.
        datasets: Map-style datasets of (image, label) by split (train, and optionally validation and test), for a
            config of the name `python`.

    Raises:
        SkipweaveError: The dataset is missing or damaged, or has too few images for the split.
    """
    if config.name in SEGMENTATION_NAMES:
        return load_segmentation(config, progress)
    return _load_classification(config, progress, datasets)


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
    if own.range is None or config.name not in DEEP_NAMES:
        return config
    low, high = own.range
    if own.clip:
        return replace(config, window=((low + high) / 2, high - low), mean=own.mean, std=own.std)
    return replace(config, range=own.range, mean=own.mean, std=own.std)


def renormalize(
    config: DataConfig, data: ClassificationData | SegmentationData
) -> ClassificationData | SegmentationData:
    """Return 8-bit data whose images are normalized by the mean and std of a config, as if it was loaded by that."""
    assert config.mean
    assert config.std
    assert data.preprocessing.range is None
    preprocessing = replace(data.preprocessing, mean=config.mean, std=config.std)
    if isinstance(data, SegmentationData):
        training = replace(data.train_transform, preprocessing=preprocessing)
        return replace(data, train_transform=training, eval_transform=JointEvalTransform(preprocessing))
    return replace(data, train_transform=train_transform(config, preprocessing), eval_transform=preprocessing)


def _load_classification(
    config: DataConfig, progress: Callable[[int, int], None] | None, datasets: Mapping[str, Any] | None
) -> ClassificationData:
    splits = complete(read(config, datasets), config)
    if config.sampling and splits.train.labels.ndim > 1:
        raise SkipweaveError(
            f"data.sampling is {config.sampling}, but images of {config.name} have several labels: use "
            f"loss.class_weights balanced"
        )
    unchanged = False
    if isinstance(splits.train, FileDataset):
        evaluation = fit_normalization(eval_transform(config, splits.train.in_chans), config, splits.train, progress)
    elif isinstance(splits.train, PythonDataset):
        image = splits.train.image(0)
        unchanged = image.is_floating_point()
        evaluation = _unchanged(config, image) if unchanged else eval_transform(config, len(image))
    else:
        evaluation = eval_transform(config)
    return ClassificationData(
        name=config.name,
        classes=tuple(map(unicode_text, splits.classes)),
        train=splits.train,
        val=splits.val,
        test=splits.test,
        train_transform=unaugmented(evaluation) if unchanged else train_transform(config, evaluation),
        eval_transform=evaluation,
        balanced=config.sampling == "balanced",
        notes=splits.notes,
    )


def _unchanged(config: DataConfig, image: Tensor) -> Preprocessing:
    """Preprocessing that leaves a float image as it is, for a user's own transforms.

    Raises:
        SkipweaveError: The image is not square, or the config asks for another size.
    """
    channels, height, width = image.shape
    if height != width or config.image_size not in (None, width):
        raise SkipweaveError(
            f"the first image of dataset train is a float tensor of {height} x {width}, which is not resized: expected "
            f"{config.image_size or width} x {config.image_size or width}; uint8 tensors and PIL images are resized"
        )
    mean, std = (0.0,) * channels, (1.0,) * channels
    return Preprocessing(channels=channels, resize=width, crop=width, mean=mean, std=std, range=(0.0, 1.0))
