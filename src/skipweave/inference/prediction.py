"""Prediction: classification and segmentation of image files by a trained network."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from skipweave.analysis.image_sizes import check_image_size
from skipweave.data import Preprocessing, open_image
from skipweave.training.checkpoint.weights_file import Description
from skipweave.training.tasks.segmentation_losses import predicted_mask
from skipweave.training.tasks.test_time_augmentation import Heads, augmented
from skipweave_config.errors import SkipweaveError
from skipweave_config.recipe import TestTimeAugmentation


@dataclass(frozen=True)
class Prediction:
    """Predicted classes of an image.

    Attributes:
        path: Of the image.
        classes: The most probable class; if images have any number of labels, those of at least the threshold, most
            probable first. Empty if the image cannot be read.
        probabilities: Of every class, between 0 and 1, in the network's order; empty likewise.
        problem: Why the image cannot be read or its probabilities are not finite, or nothing.
        warning: Why the prediction may be wrong, or nothing.
    """

    path: Path
    classes: tuple[str, ...] = ()
    probabilities: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""
    warning: str = ""

    def top(self, number: int) -> tuple[tuple[str, float], ...]:
        """The most probable classes with their probabilities, most probable first."""
        return tuple(sorted(self.probabilities.items(), key=lambda item: -item[1])[:number])


def predict(
    network: nn.Module,
    description: Description,
    paths: Sequence[Path],
    *,
    threshold: float = 0.5,
    batch_size: int = 64,
    tta: TestTimeAugmentation = "none",
) -> Iterator[Prediction]:
    """Classify image files. One that cannot be read is reported in its place and does not stop the others.

    Args:
        network: In evaluation mode, as `load_run` and `load_weights` give it, on the device that is to compute.
        description: Of the network.
        paths: Image files.
        threshold: Least probability of a predicted class, if images have any number of labels.
        batch_size: Images at a time.
        tta: Test-time augmentation, as for `augmented`.

    Returns:
        One prediction a path, in order, as they are made.
    """
    heads = augmented(lambda images: [network(images)], tta)
    for start in range(0, len(paths), batch_size):
        chunk = paths[start : start + batch_size]
        warnings: dict[Path, str] = {}
        read = {path: _read(path, description, warnings) for path in chunk}
        good = [image for image in read.values() if isinstance(image, Tensor)]
        classified = iter(_classify(heads, description, _placed(network, torch.stack(good)), threshold) if good else ())
        for path in chunk:
            image = read[path]
            found = next(classified) if isinstance(image, Tensor) else None
            if found:
                yield Prediction(path, *found, warning=warnings[path])
            else:
                yield Prediction(path, problem=image if isinstance(image, str) else _non_finite(path))


@dataclass(frozen=True)
class PredictedMask:
    """Predicted mask of an image.

    Attributes:
        path: Of the image.
        image: uint8 (3, H, W), as the file has it, or of more than 8 bits scaled from the range of the training images;
            None if it cannot be read or is too small.
        labels: int64 (H, W), of the same size; None likewise.
        probabilities: float32 (classes, H, W), between 0 and 1; None likewise.
        problem: Why there are no labels, or nothing.
        warning: Why the labels may be wrong, or nothing.
    """

    path: Path
    image: Tensor | None = None
    labels: Tensor | None = None
    probabilities: Tensor | None = None
    problem: str = ""
    warning: str = ""


def segment(
    network: nn.Module, description: Description, paths: Sequence[Path], *, tta: TestTimeAugmentation = "none"
) -> Iterator[PredictedMask]:
    """Segment image files one by one, as sizes may differ.

    A file that cannot be read, or is too small for the network, is reported in its place and does not stop the others.

    Args:
        network: In evaluation mode, as `load_run` and `load_weights` give it.
        description: Of the network.
        paths: Image files.
        tta: Test-time augmentation, as for `augmented`.

    Returns:
        One prediction a path, in order, as they are made.

    Raises:
        SkipweaveError: The test-time augmentation is not for masks.
    """
    heads = augmented(lambda images: [network(images)], tta, pixels=True)
    for path in paths:
        try:
            image = _open(path, description)
            logits = _logits(network, heads, description, image)
        except SkipweaveError as error:
            told = str(error) if str(path) in str(error) else f"{path}: {error}"
            yield PredictedMask(path, problem=told)
            continue
        probabilities = logits[0].softmax(0)
        if not probabilities.isfinite().all():
            yield PredictedMask(path, problem=_non_finite(path))
            continue
        labels = predicted_mask(logits, image.shape[-2:])[0]
        warning = _unlike_training(path, image, description.preprocessing)
        shown = description.preprocessing.as_bytes(image)
        yield PredictedMask(path, shown, labels, probabilities, warning=warning)


def _non_finite(path: Path) -> str:
    return f"{path}: the network's outputs are not finite: expected finite weights and pixels"


def _logits(network: nn.Module, heads: Heads, description: Description, image: Tensor) -> Tensor:
    """The logits of an image, float32 (1, classes, H, W), at its size and on the CPU.

    Raises:
        SkipweaveError: It is too small.
    """
    taken = _placed(network, description.preprocessing(image)[None])
    with torch.inference_mode():
        try:
            logits = heads(taken)[-1].float()
        except RuntimeError:
            _, channels, height, width = taken.shape
            check_image_size(network, (channels, height, width))
            raise
    if logits.shape[-2:] != image.shape[-2:]:
        logits = functional.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)
    return logits.cpu()


def _placed(network: nn.Module, images: Tensor) -> Tensor:
    """The images on the device and in the data type of a network's parameters, if it has any."""
    return images.to(next(network.parameters(), images))


def _open(path: Path, description: Description) -> Tensor:
    preprocessing = description.preprocessing
    return open_image(path, preprocessing.channels, high_bit_depth=preprocessing.range is not None)


def _read(path: Path, description: Description, warnings: dict[Path, str]) -> Tensor | str:
    """The preprocessed image, or the reason why it cannot be read; a warning about its values is added."""
    try:
        image = _open(path, description)
        warnings[path] = _unlike_training(path, image, description.preprocessing)
        return description.preprocessing(image)
    except SkipweaveError as error:
        return str(error)


def _unlike_training(path: Path, image: Tensor, preprocessing: Preprocessing) -> str:
    """A warning if values are outside the range of the training images by more than its width; else empty."""
    if preprocessing.range is None or preprocessing.clip:
        return ""
    (low, high), lowest, highest = preprocessing.range, image.min().item(), image.max().item()
    if low - lowest <= high - low and highest - high <= high - low:
        return ""
    return (
        f"{path} has values from {lowest:g} to {highest:g}, far outside those of the training images, which are from "
        f"{low:g} to {high:g}"
    )


def _classify(
    heads: Heads, description: Description, images: Tensor, threshold: float
) -> list[tuple[tuple[str, ...], dict[str, float]] | None]:
    """Predicted classes, and probabilities of all, of each image; None if they are not finite."""
    with torch.inference_mode():
        logits = heads(images)[-1].float()
        chances = logits.sigmoid() if description.multi_label else logits.softmax(1)
    found: list[tuple[tuple[str, ...], dict[str, float]] | None] = []
    for values in chances.tolist():
        if not all(map(math.isfinite, values)):
            found.append(None)
            continue
        by_class = dict(zip(description.classes, values, strict=True))
        ranked = sorted(by_class, key=lambda name: -by_class[name])
        chosen = [name for name in ranked if by_class[name] >= threshold] if description.multi_label else ranked[:1]
        found.append((tuple(chosen), by_class))
    return found
