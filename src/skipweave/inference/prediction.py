"""Classify images, or label their pixels, with a trained network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from skipweave.analysis.image_sizes import check_image_size
from skipweave.data import open_image
from skipweave.errors import SkipweaveError
from skipweave.training.checkpoint.weights_file import Description
from skipweave.training.tasks.segmentation_losses import label_map


@dataclass(frozen=True)
class Prediction:
    """What a network takes an image for.

    Attributes:
        path: of the image.
        classes: the most probable ones, most probable first; empty if the image cannot be read.
        probabilities: of these classes, between 0 and 1.
        problem: why the image cannot be read, or nothing.
    """

    path: Path
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    problem: str = ""


def predict(
    network: nn.Module, description: Description, paths: Sequence[Path], *, top: int = 5, batch_size: int = 64
) -> Iterator[Prediction]:
    """Classify image files. One that cannot be read is told of in its place and does not end the others.

    Args:
        network: in evaluation mode, as `load_run` and `load_weights` give it.
        description: of the network.
        paths: image files.
        top: how many classes to tell of each.
        batch_size: images at a time.

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
    """What a network takes the pixels of an image for.

    Attributes:
        path: of the image.
        image: uint8 (3, H, W), as the file has it, or of more than 8 bits scaled from the range of the training images;
            None if it cannot be read or is too small.
        labels: int64 (H, W), of the same size; None likewise.
        problem: why there are no labels, or nothing.
    """

    path: Path
    image: Tensor | None = None
    labels: Tensor | None = None
    problem: str = ""


def segment(network: nn.Module, description: Description, paths: Sequence[Path]) -> Iterator[PredictedMask]:
    """Label the pixels of image files, one after another: sizes may differ.

    A file that cannot be read, or is too small for the network, is told of in its place and does not end the others.

    Args:
        network: in evaluation mode, as `load_run` and `load_weights` give it.
        description: of the network.
        paths: image files.

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
    """The labels of an image, (H, W).

    Raises:
        SkipweaveError: it is too small.
    """
    taken = description.preprocessing(image)[None].to(next(network.parameters()))
    with torch.inference_mode():
        try:
            logits = network(taken)
        except RuntimeError:
            _, channels, height, width = taken.shape
            check_image_size(network, (channels, height, width))
            raise
    return label_map(logits, image.shape[-2:])[0].cpu()


def _open(path: Path, description: Description) -> Tensor:
    preprocessing = description.preprocessing
    return open_image(path, preprocessing.channels, high_bit_depth=preprocessing.range is not None)


def _read(path: Path, description: Description) -> Tensor | str:
    """The image as the network takes it, or what is wrong with it."""
    try:
        return description.preprocessing(_open(path, description))
    except SkipweaveError as error:
        return str(error)


def _classify(
    network: nn.Module, description: Description, images: Tensor, top: int
) -> list[tuple[tuple[str, ...], tuple[float, ...]]]:
    parameter = next(network.parameters())
    with torch.inference_mode():
        chances = network(images.to(parameter)).float().softmax(1)
    best = chances.topk(min(top, len(description.classes)), dim=1)
    return [
        (tuple(description.classes[label] for label in labels), tuple(values))
        for labels, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
