"""Table of the splits of a dataset: a row per image, with its label, split and group."""

from collections.abc import Iterator, Sequence

import numpy as np

from skipweave.data.datasets import ClassificationData
from skipweave.data.image_datasets import Label
from skipweave.data.segmentation import SegmentationData, SegmentationDataset
from skipweave.data.sources.table_files import SEPARATOR


def split_table(data: ClassificationData | SegmentationData, fold: int | None = None) -> Iterator[list[object]]:
    """Yield the header and a row per image: image, label, split, group and fold, without columns that do not apply.

    With classification of image files it is itself a table of labels with these splits (`data.path_column` image).

    Args:
        data: The dataset.
        fold: The fold that was held out, if the splits are those of a cross-validation.
    """
    header = ["image", "split"]
    if isinstance(data, ClassificationData):
        header = ["image", "label", "split"] + (["group"] if data.train.groups is not None else [])
    yield [*header, *([] if fold is None else ["fold"])]
    for split, images in data.splits.items():
        for index in range(len(images) if images else 0):
            assert images
            cells: list[object] = [images.image_name(index), split]
            if not isinstance(images, SegmentationDataset):
                cells.insert(1, label_text(data.classes, images.labels[index]) or SEPARATOR)  # none of several labels
                cells += [] if images.groups is None else [images.groups[index]]
            yield [*cells, *([] if fold is None else [fold])]


def label_text(classes: Sequence[str], label: Label) -> str:
    """A label as a table of labels has it: a class name, or several separated by semicolons.

    Args:
        classes: Class names.
        label: Class index, or 0 and 1 (classes,).
    """
    if np.ndim(label):
        return SEPARATOR.join(name for name, present in zip(classes, np.asarray(label), strict=True) if present)
    return classes[int(label)]
