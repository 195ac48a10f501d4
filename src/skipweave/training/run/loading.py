"""Load the network of a run, alone or with a split of the run's data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from skipweave.data import DataConfig, ImageDataset, SegmentationData, SegmentationDataset, load
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.checkpoint.weights_file import Description, load_weights
from skipweave.training.learner import EMA, NETWORK
from skipweave.training.preflight import check_smallest_images
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.tasks.task import Data
from skipweave_config.errors import SkipweaveError
from skipweave_config.fit_config import FitConfig

Which = Literal["best", "last", "raw"]
Split = Literal["train", "validation", "test"]


def load_run(run_dir: Path, which: Which = "best") -> tuple[nn.Module, FitConfig, Description]:
    """Load the network of a run, finished or not.

    Args:
        run_dir: The run directory.
        which: `best` by the monitored metric, `last`, or `raw`, the last in training, where `best` and `last` are
            averages (`ema.decay`); without a validation split the last is the best.

    Returns:
        The network in evaluation mode, the run's config, and the description of the network.

    Raises:
        SkipweaveError: The folder is not a run's, holds no checkpoint yet, or a damaged one.
    """
    folder = RunDirectory(run_dir)
    config = folder.read_config()
    chosen = folder.best if folder.best.exists() else folder.weights
    if which == "best" and chosen.exists():
        network, description = load_weights(chosen)
        return network, config, description
    if not folder.last.exists():
        raise SkipweaveError(f"{run_dir} holds no checkpoint yet: resume it with `skipweave fit --resume {run_dir}`")
    saved = open_saved(folder.last)
    description = Description.from_plain(saved.info.get("description"), saved.path)
    averaged = which != "raw" and any(name.startswith(EMA) for name in saved.shapes)
    prefix = EMA if averaged else NETWORK
    return description.build(saved, prefix), config, description


@dataclass(frozen=True)
class RunImages:
    """A run's network with images of one split of its data.

    Attributes:
        network: In evaluation mode.
        config: The run's config.
        data: As the run read it.
        images: Of the split.
        description: Of the network.
    """

    network: nn.Module
    config: FitConfig
    data: Data
    images: ImageDataset | SegmentationDataset
    description: Description


def load_run_images(
    run_dir: Path,
    split: Split = "test",
    which: Which = "best",
    root: Path | None = None,
    datasets: Mapping[str, Any] | None = None,
) -> RunImages:
    """Load the network of a run and a split of the run's data.

    Args:
        run_dir: The run directory.
        split: train, validation or test.
        which: As for `load_run`.
        root: Where the data is now; by default where the run read it.
        datasets: Datasets by split, if the run was trained on such.

    Raises:
        SkipweaveError: The run or its data is missing or does not fit, or there is no such split.
    """
    network, config, description = load_run(run_dir, which)
    data = load_data(config.data, root, datasets)
    if data.classes != description.classes:
        raise SkipweaveError(
            f"{run_dir} was trained on {len(description.classes)} classes, the data has {len(data.classes)} "
            f"or other names: expected the same"
        )
    if data.preprocessing != description.preprocessing:
        raise SkipweaveError(
            f"{run_dir} was trained on images preprocessed by {description.preprocessing.to_dict()}, those of "
            f"the data are preprocessed by {data.preprocessing.to_dict()}: expected the same, of the same depth"
        )
    images = data.splits[split]
    if images is None:
        raise SkipweaveError(f"{data.name} has no {split} images in this run: choose another split")
    if isinstance(data, SegmentationData) and isinstance(images, SegmentationDataset):
        check_smallest_images(network, data, images)
    return RunImages(network, config, data, images, description)


def load_data(config: DataConfig, root: Path | None = None, datasets: Mapping[str, Any] | None = None) -> Data:
    """Load the data of a run.

    Args:
        config: The data's config.
        root: Where the data is now; by default where the run read it.
        datasets: Datasets by split, if the run was trained on such.

    Raises:
        SkipweaveError: The data is missing or damaged; if it has moved, with the option that gives its directory.
    """
    try:
        return load(moved(config, root) if root else config, datasets=datasets)
    except SkipweaveError as error:
        old = config.root or config.labels
        if root or not old or old.expanduser().exists():
            raise
        raise SkipweaveError(
            *error.problems, f"{old} is not there: give the directory of the data now as --root"
        ) from error


def moved(config: DataConfig, root: Path) -> DataConfig:
    """The same dataset in another directory, with class list and table of labels if they were in the old one."""
    old = config.root or (config.labels.parent if config.labels else None)

    def in_root(path: Path | None) -> Path | None:
        return root / path.relative_to(old) if path and old and path.is_relative_to(old) else path

    return replace(config, root=root, classes=in_root(config.classes), labels=in_root(config.labels))
