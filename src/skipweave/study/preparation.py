"""What a study's runs share, before training: the data, checked, and what of it is left out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lightning_fabric import Fabric

from skipweave.data import Unreadable, exclude, load, with_normalization
from skipweave.training import ModelConfig
from skipweave.training.distributed.devices import make_fabric, slow_precision_note
from skipweave.training.preflight import check_data, notes_before
from skipweave.training.run.skipped_images import unreadable
from skipweave.training.tasks.task import Data
from skipweave_config.errors import SkipweaveError, noted_in
from skipweave_config.study_config import StudyConfig


@dataclass(frozen=True)
class Prepared:
    """A study that is about to begin.

    Attributes:
        config: The config, with the normalization of the data.
        data: Without the images that are left out.
        skipped_images: Training images that are left out, as they cannot be read.
        fabric: Of this process.
        notes: What the user should know before training.
    """

    config: StudyConfig
    data: Data
    skipped_images: Sequence[Unreadable]
    fabric: Fabric
    notes: Sequence[str]


def prepare(config: StudyConfig) -> Prepared:
    """Load and check the data of a study.

    Raises:
        SkipweaveError: It cannot be read, has no test split, one class only, or fewer training images than a batch.
    """
    data = load(config.data)
    config = replace(config, data=with_normalization(config.data, data))
    _check_data(config, data)
    fabric = _fabric(config)
    any_run = config.fit_config(ModelConfig(), 0, config.output)
    skipped_images = unreadable(fabric, any_run, None, data, lambda *_: None)
    data = exclude(data, skipped_images)
    slow = slow_precision_note(config.precision, fabric.device) if config.on == "local" else ""
    notes = (*notes_before(any_run, data), slow) if slow else notes_before(any_run, data)
    return Prepared(config, data, skipped_images, fabric, notes)


def _fabric(config: StudyConfig) -> Fabric:
    """That of the config; on a machine without its devices, where the runs are trained elsewhere, of the CPU."""
    try:
        return make_fabric(config.accelerator, precision=config.precision)
    except SkipweaveError:
        if config.on == "local":
            raise
        return make_fabric("cpu")


def _check_data(config: StudyConfig, data: Data) -> None:
    """Check for what would fail in every run.

    Raises:
        SkipweaveError: There is no test split, one class only, or fewer training images than a batch takes.
    """
    problems: list[str] = []
    if data.test is None:
        problems.append(f"dataset {data.name} has no test split, but a study reports test metrics: add one")
    with noted_in(problems):
        check_data(config, data)
    if problems:
        raise SkipweaveError(*problems)
