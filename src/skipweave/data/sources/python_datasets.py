"""Datasets that a user passes from Python: any map-style torch Dataset of images and labels."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Subset
from torchvision.transforms.v2.functional import pil_to_tensor

from skipweave.data.image_datasets import DatasetSplits, Label
from skipweave.data.splits import Indices, Labels
from skipweave_config.errors import SkipweaveError

SPLITS = ("train", "validation", "test")
_SAMPLE = "expected an image, PIL or a tensor (C, H, W), uint8 or float, and a class index or 0 and 1 per class"


class PythonDataset:
    """Map-style dataset of (image, label) of the user's, as an `ImageDataset`.

    Args:
        source: The dataset: images are PIL images or tensors (C, H, W), uint8 or float.
        labels: Class indices (N,), or 0 and 1, (N, classes).
        indices: Indices of the images in the source.
        name: Name for messages.
        mode: Mode that PIL images are converted to: L or RGB.
    """

    groups: Indices | None = None

    def __init__(self, source: Any, labels: Labels, indices: Indices, name: str, mode: str) -> None:
        self.source = source
        self.labels: Labels = labels
        self.indices = indices
        self.name = name
        self.mode = mode

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, Label]:
        label = self.labels[index]
        return self.image(index), label if label.ndim else int(label)

    def image(self, index: int) -> Tensor:
        """Load one image: uint8 or float32, (C, H, W).

        Raises:
            SkipweaveError: It is no image.
        """
        place = int(self.indices[index])
        sample = self.source[place]
        image = sample[0] if isinstance(sample, tuple | list) and len(sample) == 2 else None
        if isinstance(image, Image.Image):
            if image.mode[0] in "IF":
                raise SkipweaveError(
                    f"sample {place} of dataset {self.name} is a PIL image of mode {image.mode}, of more than 8 bits: "
                    f"expected a float tensor (C, H, W), scaled, or 8 bits"
                )
            image = pil_to_tensor(image.convert(self.mode))
        if not isinstance(image, Tensor) or image.ndim != 3:
            raise SkipweaveError(f"sample {place} of dataset {self.name} is {_shown(sample)}: {_SAMPLE}")
        return image if image.dtype == torch.uint8 else image.float()

    def file(self, index: int) -> str:
        """Empty: the images have no files."""
        return ""

    def image_name(self, index: int) -> str:
        """Index of an image in the user's dataset."""
        return str(self.indices[index])

    def subset(self, indices: Indices) -> "PythonDataset":
        """Subset of the images at these indices."""
        return PythonDataset(self.source, self.labels[indices], self.indices[indices], self.name, self.mode)


def from_python(datasets: Mapping[str, Any]) -> DatasetSplits:
    """Wrap datasets by split.

    Class names are the attribute `classes` of the training dataset, or else numbers. Labels are the attribute `targets`
    or `labels`, as torchvision's datasets have it; otherwise every sample is loaded once to find them.

    Args:
        datasets: Map-style datasets by split: train, and optionally validation and test.

    Raises:
        SkipweaveError: All mistakes: unknown splits, no training images, samples that are not images with labels, or
            labels that are no class.
    """
    unknown = [f"datasets has {name!r}: expected train, validation and test" for name in datasets if name not in SPLITS]
    if "train" not in datasets:
        unknown.append("datasets has no train: expected the training images")
    if unknown:
        raise SkipweaveError(*unknown)
    mode = _mode(datasets["train"])
    splits = {name: _wrap(name, source, mode) for name, source in datasets.items() if source is not None}
    classes = _classes(datasets["train"], splits["train"].labels)
    problems = [problem for name, split in splits.items() for problem in _problems(name, split, len(classes))]
    if problems:
        raise SkipweaveError(*problems)
    return DatasetSplits(classes, splits["train"], splits.get("validation"), splits.get("test"), len(splits) > 1)


def _wrap(name: str, source: Any, mode: str) -> PythonDataset:
    labels = _labels(name, source)
    return PythonDataset(source, labels, np.arange(len(labels)), name, mode)


def _mode(source: Any) -> str:
    """The mode of all PIL images: L if the first one is gray, else RGB."""
    sample = source[0] if len(source) else None
    image = sample[0] if isinstance(sample, tuple | list) and sample else None
    return "L" if isinstance(image, Image.Image) and image.mode in ("1", "L") else "RGB"


def _labels(name: str, source: Any) -> Labels:
    """Labels of a dataset, from its attributes or its samples."""
    if isinstance(source, Subset):
        return _labels(name, source.dataset)[np.asarray(source.indices, dtype=np.int64)]
    known = next((found for key in ("targets", "labels") if (found := getattr(source, key, None)) is not None), None)
    if known is None:
        known = [_label(name, source, index) for index in range(len(source))]
    try:
        labels = np.asarray(known)
    except ValueError:
        labels = np.empty(0, dtype=object)
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "iub" or len(labels) != len(source):
        raise SkipweaveError(f"dataset {name} has labels of type {labels.dtype}, {labels.shape}: {_SAMPLE}")
    return labels.astype(np.int64) if labels.ndim == 1 else labels.astype(np.uint8)


def _label(name: str, source: Any, index: int) -> Any:
    sample = source[index]
    if not isinstance(sample, tuple | list) or len(sample) != 2:
        raise SkipweaveError(f"sample {index} of dataset {name} is {_shown(sample)}: {_SAMPLE}")
    return np.asarray(sample[1])


def _classes(source: Any, labels: Labels) -> tuple[str, ...]:
    while isinstance(source, Subset):
        source = source.dataset
    names = getattr(source, "classes", None)
    if names is not None:
        return tuple(map(str, cast("Sequence[Any]", names)))
    return tuple(map(str, range(labels.shape[1] if labels.ndim > 1 else int(labels.max(initial=-1)) + 1)))


def _problems(name: str, images: PythonDataset, classes: int) -> list[str]:
    """Describe what is wrong with the labels and the first image of a dataset."""
    labels = images.labels
    if not len(labels):
        return [f"dataset {name} has no images"]
    problems = []
    if labels.ndim > 1 and (labels.shape[1] != classes or labels.max() > 1):
        problems.append(f"dataset {name} has labels {labels.shape}: expected 0 and 1 for each of {classes} classes")
    elif labels.ndim == 1 and (labels.min() < 0 or labels.max() >= classes):
        problems.append(f"dataset {name} has labels from {labels.min()} to {labels.max()}: expected 0 to {classes - 1}")
    try:
        images.image(0)
    except SkipweaveError as error:
        problems += error.problems
    return problems


def _shown(sample: Any) -> str:
    """The types of a sample."""
    if isinstance(sample, tuple | list):
        return f"({', '.join(_shown(part) for part in sample)})"
    size = f" {tuple(sample.shape)}" if isinstance(sample, Tensor) else ""
    return f"{type(sample).__name__}{size}"
