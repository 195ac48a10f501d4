"""Prediction: classification and segmentation of image files by a trained network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from skipweave.analysis.image_sizes import check_image_size
from skipweave.data import open_image
from skipweave.training.checkpoint.weights_file import Description
from skipweave.training.tasks.segmentation_losses import predicted_mask
from skipweave_config.errors import SkipweaveError


@dataclass(frozen=True)
class Prediction:
    """Predicted classes of an image.

    Attributes:
        path: Of the image.
        classes: The most probable ones, most probable first; empty if the image cannot be read.
        probabilities: Of these classes, between 0 and 1; of each class by itself if images have any number of labels.
        problem: Why the image cannot be read, or nothing.
    """

    path: Path
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    problem: str = ""


def predict(
    network: nn.Module, description: Description, paths: Sequence[Path], *, top: int = 5, batch_size: int = 64
) -> Iterator[Prediction]:
    """Classify image files. One that cannot be read is reported in its place and does not stop the others.

    Args:
        network: In evaluation mode, as `load_run` and `load_weights` give it.
        description: Of the network.
        paths: Image files.
        top: Number of classes per image, most probable first.
        batch_size: Images at a time.

    Returns:
        One prediction a path, in order, as they are made.

    Raises:
        SkipweaveError: `top` is below 1.
    """
    if top < 1:
        raise SkipweaveError(f"top is {top}: expected at least 1")
    for start in range(0, len(paths), batch_size):
        chunk = paths[start : start + batch_size]
        read = {path: _read(path, description) for path in chunk}
        good = [image for image in read.values() if isinstance(image, Tensor)]
        named = iter(_classify(network, description, torch.stack(good), top) if good else ())
        for path in chunk:
            image = read[path]
            yield Prediction(path, *next(named)) if isinstance(image, Tensor) else Prediction(path, problem=image)


@dataclass(frozen=True)
class PredictedMask:
    """Predicted mask of an image.

    Attributes:
        path: Of the image.
        image: uint8 (3, H, W), as the file has it, or of more than 8 bits scaled from the range of the training images;
            None if it cannot be read or is too small.
        labels: int64 (H, W), of the same size; None likewise.
        problem: Why there are no labels, or nothing.
    """

    path: Path
    image: Tensor | None = None
    labels: Tensor | None = None
    problem: str = ""


def segment(network: nn.Module, description: Description, paths: Sequence[Path]) -> Iterator[PredictedMask]:
    """Segment image files one by one, as sizes may differ.

    A file that cannot be read, or is too small for the network, is reported in its place and does not stop the others.

    Args:
        network: In evaluation mode, as `load_run` and `load_weights` give it.
        description: Of the network.
        paths: Image files.

    Returns:
        One prediction a path, in order, as they are made.
    """
    for path in paths:
        try:
            image = _open(path, description)
            labels = _label(network, description, image)
        except SkipweaveError as error:
            told = str(error) if str(path) in str(error) else f"{path}: {error}"
            yield PredictedMask(path, problem=told)
            continue
        yield PredictedMask(path, description.preprocessing.as_bytes(image), labels)


def _label(network: nn.Module, description: Description, image: Tensor) -> Tensor:
    """The predicted mask of an image, (H, W).

    Raises:
        SkipweaveError: It is too small.
    """
    taken = description.preprocessing(image)[None].to(next(network.parameters()))
    with torch.inference_mode():
        try:
            logits = network(taken)
        except RuntimeError:
            _, channels, height, width = taken.shape
            check_image_size(network, (channels, height, width))
            raise
    return predicted_mask(logits, image.shape[-2:])[0].cpu()


def _open(path: Path, description: Description) -> Tensor:
    preprocessing = description.preprocessing
    return open_image(path, preprocessing.channels, high_bit_depth=preprocessing.range is not None)


def _read(path: Path, description: Description) -> Tensor | str:
    """The preprocessed image, or the reason why it cannot be read."""
    try:
        return description.preprocessing(_open(path, description))
    except SkipweaveError as error:
        return str(error)


def _classify(
    network: nn.Module, description: Description, images: Tensor, top: int
) -> list[tuple[tuple[str, ...], tuple[float, ...]]]:
    parameter = next(network.parameters())
    with torch.inference_mode():
        logits = network(images.to(parameter)).float()
        chances = logits.sigmoid() if description.multi_label else logits.softmax(1)
    best = chances.topk(min(top, len(description.classes)), dim=1)
    return [
        (tuple(description.classes[label] for label in labels), tuple(values))
        for labels, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
