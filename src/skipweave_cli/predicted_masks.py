"""Predicted masks and overlays of images, written as files."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from skipweave.files.atomic_write import replacing
from skipweave.inference import PredictedMask, segment
from skipweave.plotting.figure_files import write_figure
from skipweave.plotting.mask_overlays import mask_image, plot_overlay
from skipweave.training import Description
from skipweave_cli.tables import complain, new_table, print_table, say
from skipweave_config.errors import SkipweaveError

_LARGEST = 4  # classes printed per image


def write_masks(network: nn.Module, description: Description, paths: Sequence[Path], folder: Path) -> int:
    """Segment images, and write NAME_labels.png and NAME_overlay.png of each into a directory.

    Returns:
        The exit status: 2 if an image could not be read, which is reported on stderr; the others are written.

    Raises:
        SkipweaveError: The folder is none, two images have one name, or a file to be written exists already.
    """
    _check_output(paths, folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = new_table("image", "pixels")
    problems = 0
    for prediction in segment(network, description, paths):
        if prediction.labels is None:
            complain(prediction.problem)
            problems += 1
        else:
            _write(prediction, description, folder)
            table.add_row(str(prediction.path), _class_fractions(prediction, description.classes))
    if table.row_count:
        print_table(table)
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


def _files(path: Path, folder: Path) -> tuple[Path, Path]:
    return folder / f"{path.stem}_labels.png", folder / f"{path.stem}_overlay.png"


def _check_output(paths: Sequence[Path], folder: Path) -> None:
    if folder.suffix in (".csv", ".json") or (folder.exists() and not folder.is_dir()):
        raise SkipweaveError(f"output is {folder}: expected the name of a directory for masks")
    names = Counter(path.stem for path in paths)
    twice = [str(path) for path in paths if names[path.stem] > 1]
    if twice:
        raise SkipweaveError(f"{', '.join(twice[:4])} would be written to the same file: predict them one by one")
    there = [str(file) for path in paths for file in _files(path, folder) if file.exists()]
    if there:
        raise SkipweaveError(f"{there[0]} exists already ({len(there)} of them): choose another --output directory")


def _class_fractions(prediction: PredictedMask, classes: Sequence[str]) -> str:
    assert prediction.labels is not None
    counts = prediction.labels.flatten().bincount(minlength=len(classes))
    largest = counts.argsort(descending=True)[:_LARGEST].tolist()
    total = prediction.labels.numel()
    return ", ".join(f"{classes[label]} {counts[label] / total:.1%}" for label in largest if counts[label])
