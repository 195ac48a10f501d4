"""Predicted masks and overlays of images, written as files."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from skipweave.files.atomic_write import replacing
from skipweave.inference import PredictedMask, segment
from skipweave.plotting.figure_files import write_figure
from skipweave.plotting.mask_overlays import mask_image, plot_overlay
from skipweave.training import Description
from skipweave_cli.tables import MOST_LINES, complain, new_table, print_table, say
from skipweave_config.errors import SkipweaveError
from skipweave_config.recipe import TestTimeAugmentation

_LARGEST = 4  # classes printed per image


def write_masks(
    network: nn.Module,
    description: Description,
    paths: Sequence[Path],
    folder: Path,
    *,
    soft: bool = False,
    tta: TestTimeAugmentation = "none",
) -> int:
    """Segment images, and write NAME_labels.png and NAME_overlay.png of each into a directory.

    Args:
        network: On the device that is to compute.
        description: Of the network.
        paths: Image files.
        folder: The directory.
        soft: Write also NAME_probability_LABEL.png per class.
        tta: Test-time augmentation.

    Returns:
        The exit status: 2 if an image could not be read, which is reported on stderr; the others are written.

    Raises:
        SkipweaveError: The folder is none, two images have one name, or a file to be written exists already.
    """
    labels = range(len(description.classes) if soft else 0)
    _check_output(paths, folder, labels)
    folder.mkdir(parents=True, exist_ok=True)
    table = new_table("image", "pixels")
    problems = written = 0
    for prediction in segment(network, description, paths, tta=tta):
        if prediction.labels is None:
            complain(prediction.problem)
            problems += 1
        else:
            complain(prediction.warning, "warning")
            _write(prediction, description, folder)
            for label in labels:
                _write_probability(prediction, label, folder)
            written += 1
            if written <= MOST_LINES:
                table.add_row(str(prediction.path), _class_fractions(prediction, description.classes))
    if written:
        print_table(table)
        if written > MOST_LINES:
            say(f"{MOST_LINES} of {written} images")
        say(f"masks and overlays are in {folder}")
    return 2 if problems else 0


def _write(prediction: PredictedMask, description: Description, folder: Path) -> None:
    assert prediction.image is not None
    assert prediction.labels is not None
    labels, overlay = _files(prediction.path, folder)
    with replacing(labels) as temporary:
        palette = description.palette if description.colored else None
        mask_image(prediction.labels, description.values, palette).save(temporary, format="png")
    figure = plot_overlay(
        prediction.image,
        prediction.labels,
        description.classes,
        description.palette,
        prediction.path.name,
        description.values,
    )
    write_figure(figure, overlay)


def _write_probability(prediction: PredictedMask, label: int, folder: Path) -> None:
    """Write the probability of a class as a 16-bit gray image, in which 65535 is 1."""
    assert prediction.probabilities is not None
    values = (prediction.probabilities[label].double() * 65535).round().numpy().astype(np.uint16)
    with replacing(_probability_file(prediction.path, label, folder)) as temporary:
        Image.fromarray(values).save(temporary, format="png")


def _probability_file(path: Path, label: int, folder: Path) -> Path:
    return folder / f"{path.stem}_probability_{label}.png"


def _files(path: Path, folder: Path) -> tuple[Path, Path]:
    return folder / f"{path.stem}_labels.png", folder / f"{path.stem}_overlay.png"


def _check_output(paths: Sequence[Path], folder: Path, labels: Sequence[int]) -> None:
    if folder.suffix in (".csv", ".json") or (folder.exists() and not folder.is_dir()):
        raise SkipweaveError(f"output is {folder}: expected the name of a directory for masks")
    names = Counter(path.stem for path in paths)
    twice = [str(path) for path in paths if names[path.stem] > 1]
    if twice:
        raise SkipweaveError(f"{', '.join(twice[:4])} would be written to the same file: predict them one by one")
    files = [file for path in paths for file in _files(path, folder)]
    files += [_probability_file(path, label, folder) for path in paths for label in labels]
    if there := [str(file) for file in files if file.exists()]:
        raise SkipweaveError(f"{there[0]} exists already ({len(there)} of them): choose another --output directory")


def _class_fractions(prediction: PredictedMask, classes: Sequence[str]) -> str:
    assert prediction.labels is not None
    counts = prediction.labels.flatten().bincount(minlength=len(classes))
    largest = counts.argsort(descending=True)[:_LARGEST].tolist()
    total = prediction.labels.numel()
    return ", ".join(f"{classes[label]} {counts[label] / total:.1%}" for label in largest if counts[label])
