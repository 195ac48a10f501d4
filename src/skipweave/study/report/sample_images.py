"""The report's sample images of the dataset."""

from collections.abc import Iterator
from html import escape

import numpy as np
import torch
from torchvision.transforms.v2.functional import pil_to_tensor

from skipweave.data import ClassificationData, SegmentationData
from skipweave.plotting.mask_overlays import overlay
from skipweave.study.report.thumbnails import displayable, thumbnail
from skipweave.training.tasks.task import Data

_MOST_CLASSES, _MOST_MASKS = 12, 3
_SIDE, _MASK_SIDE = 96, 400  # pixels


def sample_section(data: Data) -> str:
    """Training images under a heading: one of each class, or images beside their masks."""
    figures = "".join(_masks(data) if isinstance(data, SegmentationData) else _classes(data))
    note = "Training images" + (
        " and their masks" if isinstance(data, SegmentationData) else ", the first of each class"
    )
    more = f" ({_MOST_CLASSES} of {len(data.classes)} classes)" if _left_out(data) else ""
    note = f'<p class="note">{note}{more}, before augmentation.</p>'
    return f'<h2>Sample images</h2>{note}<div class="samples">{figures}</div>'


def _left_out(data: Data) -> bool:
    return isinstance(data, ClassificationData) and len(data.classes) > _MOST_CLASSES


def _classes(data: ClassificationData) -> Iterator[str]:
    labels = data.train.labels
    for label, name in list(enumerate(data.classes))[:_MOST_CLASSES]:
        of_class = np.flatnonzero(labels[:, label] if data.multi_label else labels == label)
        if len(of_class):
            image = displayable(data.train[int(of_class[0])][0])
            yield f"<figure>{thumbnail(image, _SIDE, name)}<figcaption>{escape(name)}</figcaption></figure>"


def _masks(data: SegmentationData) -> Iterator[str]:
    present: set[int] = set()
    images = len(data.train)
    for index in np.linspace(0, images - 1, min(_MOST_MASKS, images), dtype=int).tolist():
        image, mask = data.train[index]
        shown = displayable(image)
        pixels = image if image.dtype == torch.uint8 else pil_to_tensor(shown)
        present |= set(mask.unique().tolist())
        pair = thumbnail(shown, _MASK_SIDE, f"image {index + 1}") + thumbnail(
            overlay(pixels, mask, data.palette, data.void), _MASK_SIDE, f"mask of image {index + 1}"
        )
        yield f'<figure class="pair">{pair}</figure>'
    yield _palette(data, present)


def _palette(data: SegmentationData, present: set[int]) -> str:
    """The colors of the classes that occur in the masks."""
    items = "".join(
        f'<li><span class="color" style="background:rgb{data.palette[label]}"></span>{escape(name)}</li>'
        for label, name in enumerate(data.classes)
        if label in present
    )
    return f'<ul class="palette">{items}</ul>'
