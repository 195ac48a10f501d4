"""Unreadable training images that a run skips if its config requests it."""

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from lightning_fabric import Fabric
from torch import distributed

from skipweave.data import Unreadable, check_readable, find_unreadable
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.tasks.task import Data
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import FitConfig


def unreadable(
    fabric: Fabric,
    config: FitConfig,
    resume: Path | None,
    data: Data,
    progress: Callable[[int, int], None],
    known: Sequence[Unreadable] | None = None,
) -> list[Unreadable]:
    """Find the training images that cannot be read, if the config skips them.

    Each process reads a part of the images, once in the life of a run, or of a study for all its runs.

    Args:
        fabric: Of this process.
        config: The config.
        resume: Run directory to resume, whose list is kept.
        data: The images.
        progress: Called with the images read and all images, after each.
        known: Those images, if they have been found before.

    Returns:
        The images to leave out, in the order of the data.

    Raises:
        SkipweaveError: An image that is evaluated cannot be read, or those of the run to resume are others.
    """
    if config.data.on_bad == "raise":
        return []
    if resume and (own := RunDirectory(resume).read_skipped()) is not None:
        _check_same_images(own, data, resume)
        return own
    if known is not None:
        return list(known)
    found: dict[str, list[Unreadable]] = {}
    for split, images in data.splits.items():
        part = range(fabric.global_rank, len(images or ()), fabric.world_size)
        here = find_unreadable(images, part, workers=config.data.workers, progress=progress) if images else []
        found[split] = _of_all_processes(fabric, here)
    check_readable("validation", found["validation"])
    check_readable("test", found["test"])
    return found["train"]


def _of_all_processes(fabric: Fabric, own: list[Unreadable]) -> list[Unreadable]:
    if fabric.world_size == 1:
        return own
    everyone: list[list[Unreadable]] = [[]] * fabric.world_size
    distributed.all_gather_object(everyone, own)
    return sorted(chain.from_iterable(everyone))


def _check_same_images(known: Sequence[Unreadable], data: Data, run: Path) -> None:
    """Check that the dataset of a run is unchanged: skipped images are stored by index."""
    for image in known:
        now = data.train.file(image.index) if image.index < len(data.train) else "nothing"
        if Path(now).name != Path(image.file).name:
            raise SkipweaveError(
                f"the images of {data.name} are not those that {run} began with: training image {image.index} "
                f"was {image.file} and is {now}"
            )


def skipped_note(skipped: Sequence[Unreadable], folder: RunDirectory) -> str:
    """The number of skipped images, as a note; empty if there are none."""
    if not skipped:
        return ""
    return f"{len(skipped)} training image(s) cannot be read and are left out: {folder.skipped} names them"
