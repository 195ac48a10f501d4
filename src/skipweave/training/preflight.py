"""Checks before a run begins, so that it does not fail after an epoch, and the notes printed first."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from skipweave.analysis.image_sizes import check_image_size
from skipweave.data import (
    SegmentationData,
    SegmentationDataset,
    check_classes,
    read_header,
    steps_per_epoch,
    workers_warning,
)
from skipweave.models import check_pretrained
from skipweave.training.compilation import check_compiler, check_units
from skipweave.training.distributed.devices import make_fabric
from skipweave.training.freezing import freeze
from skipweave.training.model_building import check_labels, check_network, enable_grad_checkpointing
from skipweave.training.optimization.optimizers import check_groups, check_layer_decay, check_optimizer
from skipweave.training.split_notes import class_notes, shown, size_note, validation_note
from skipweave.training.starting_weights import check_start
from skipweave.training.tasks.metrics import Metric
from skipweave.training.tasks.task import Data, metric_for
from skipweave_config.data_config import DEEP_NAMES, SEGMENTATION_NAMES
from skipweave_config.errors import SkipweaveError, noted_in
from skipweave_config.fit_config import FitConfig, ModelConfig
from skipweave_config.recipe import ProgressiveConfig, scaled_side
from skipweave_config.study_config import NetworkConfig, StudyConfig


def check_config(config: FitConfig, *, resumed: bool = False) -> None:
    """Check what can be checked before data is read: models, without memory for weights, optimizer, device and weights.

    Args:
        config: The config.
        resumed: Whether the run continues from a checkpoint, not from `start`.

    Raises:
        SkipweaveError: Every reason why there can be no such run.
    """
    problems: list[str] = []
    with noted_in(problems):
        network = _check_model("model", config.model, config)
        _check_training(config, network)
    if config.model.pretrained:
        with noted_in(problems, "model"):
            check_pretrained(config.model.name)
    if config.start and not resumed:
        with noted_in(problems):
            check_start(config.start)
    with noted_in(problems):
        check_optimizer(config.optim)
    _check_device(config, problems)
    if problems:
        raise SkipweaveError(*problems)


def check_study_config(config: StudyConfig) -> None:
    """Check what can be checked before data is read, as `check_config`.

    Raises:
        SkipweaveError: Every reason why there can be no such study.
    """
    problems: list[str] = []
    for model in config.networks:
        with noted_in(problems):
            network = _check_model(f"networks ({model.title})", model, config)  # a grid has no number for each
            with noted_in(problems):
                check_layer_decay(model.name, network, config.optim)
            with noted_in(problems):
                check_groups(model.name, network, config.optim)
            with noted_in(problems):
                check_units(config.compile, model.name, network)
            if model.grad_checkpointing:
                enable_grad_checkpointing(model.name, network)
    if config.on == "local":  # other machines have other devices
        for devices in sorted({model.devices for model in config.networks} - {1}):
            with noted_in(problems):
                make_fabric(config.accelerator, precision=config.precision, devices=devices)
        _check_device(config, problems)
    with noted_in(problems):
        check_optimizer(config.optim)
    if problems:
        raise SkipweaveError(*problems)


def _check_model(field: str, model: ModelConfig | NetworkConfig, config: FitConfig | StudyConfig) -> nn.Module:
    """Build a model on the meta device; problems begin with the field."""
    try:
        network = check_network(model.name, model.args)
        check_labels(model.name, network, pixels=config.data.name in SEGMENTATION_NAMES)
    except SkipweaveError as error:
        raise SkipweaveError(*(f"{field}: {problem}" for problem in error.problems)) from error
    return network


def _check_training(config: FitConfig, network: nn.Module) -> None:
    """Check that a network has what the config trains it with; it is changed."""
    name, problems = config.model.name, list[str]()
    with noted_in(problems):
        check_layer_decay(name, network, config.optim)
    with noted_in(problems):
        check_groups(name, network, config.optim)
    with noted_in(problems):
        check_units(config.compile, name, network)
    if config.grad_checkpointing:
        with noted_in(problems):
            enable_grad_checkpointing(name, network)
    with noted_in(problems):
        freeze(name, network, config.freeze, norms=config.freeze_norms)
    if problems:
        raise SkipweaveError(*problems)


def _check_device(config: FitConfig | StudyConfig, problems: list[str]) -> None:
    with noted_in(problems):
        device = make_fabric(config.accelerator, precision=config.precision).device
        check_compiler(config.compile, device)


def check_before(config: FitConfig, args: Mapping[str, Any], data: Data) -> None:
    """Check that a network can be trained on data, and evaluated, in batches as configured.

    Raises:
        SkipweaveError: every reason why it cannot.
    """
    problems: list[str] = []
    with noted_in(problems):
        check_data(config, data)
    with noted_in(problems):
        check_one_label(config, data)
    with noted_in(problems):
        network = check_network(config.model.name, args)
        check_sizes(network, data, config.batch_size // config.devices, config.progressive)
    if problems:
        raise SkipweaveError(*problems)


def check_data(config: FitConfig | StudyConfig, data: Data) -> None:
    """Check that data has what training depends on, whatever the model.

    Raises:
        SkipweaveError: Every reason why it has not.
    """
    problems: list[str] = []
    with noted_in(problems):
        check_classes(data)
    with noted_in(problems):
        if not (isinstance(config, FitConfig) and config.max_memory):  # else the batch is still to be chosen
            check_batch(config, data)
            check_additions(config, data)
    with noted_in(problems):
        check_validation(config, data)
    with noted_in(problems):
        check_labeled(data, metric_for(data, config.monitor))
    if problems:
        raise SkipweaveError(*problems)


def check_batch(config: FitConfig | StudyConfig, data: Data) -> None:
    """Check that there are enough training images for a step.

    Raises:
        SkipweaveError: there are not.
    """
    parts = config.optim.accumulate
    if len(data.train) < config.batch_size * parts:
        times, less = (f" and optim.accumulate {parts}", f"a {parts}th of ") if parts > 1 else ("", "")
        raise SkipweaveError(
            f"batch_size is {config.batch_size}{times}, but there are only {len(data.train)} training images: "
            f"give a batch_size of at most {less}that"
        )


def check_additions(config: FitConfig | StudyConfig, data: Data) -> None:
    """Check that links that are to be added while a network is trained are added before the last step.

    Raises:
        SkipweaveError: The training is too short.
    """
    steps = training_steps(config, data)
    every = max(one.densify.every for one in ((config,) if isinstance(config, FitConfig) else config.networks))
    if every >= steps:
        raise SkipweaveError(f"densify.every is {every}: expected fewer than the {steps} steps of the training")


def training_steps(config: FitConfig | StudyConfig, data: Data) -> int:
    """The number of steps of a run."""
    images = config.batch_size * config.optim.accumulate
    return config.epochs * steps_per_epoch(len(data.train), images, drop_last=True)


def check_one_label(config: FitConfig, data: Data) -> None:
    """Check that images have one label each where labels are to be mixed or smoothed.

    Raises:
        SkipweaveError: They have several.
    """
    asked = {
        "mix.mixup": config.mix.mixup,
        "mix.cutmix": config.mix.cutmix,
        "loss.label_smoothing": config.loss.label_smoothing,
    }
    given = [f"{name} is {value:g}" for name, value in asked.items() if value]
    if given and not isinstance(data, SegmentationData) and data.multi_label:
        raise SkipweaveError(f"{' and '.join(given)}, but images of {data.name} have several labels each: leave it out")


def check_validation(config: FitConfig | StudyConfig, data: Data) -> None:
    """Check that there are validation images where training depends on them.

    Raises:
        SkipweaveError: There are none.
    """
    plateau = "schedule.name is plateau" if config.schedule.name == "plateau" else ""
    patience = config.early_stopping.patience
    stopping = f"early_stopping.patience is {patience}" if patience else ""
    rung = config.halving.min_epochs if isinstance(config, StudyConfig) else 0
    halving = f"halving.min_epochs is {rung}" if rung else ""
    if not data.val and (asked := list(filter(None, (plateau, stopping, halving)))):
        raise SkipweaveError(f"{' and '.join(asked)}, but {data.name} has no validation images: give data.validation")


def check_labeled(data: Data, metric: Metric) -> None:
    """Check that some image of each split has a label, without which metrics of several labels cannot be computed.

    Raises:
        SkipweaveError: A split has images without labels only.
    """
    if isinstance(data, SegmentationData) or not data.multi_label:
        return
    if empty := [name for name, images in data.splits.items() if images and not images.labels.any()]:
        raise SkipweaveError(
            f"no image of split {', '.join(empty)} has any of the labels {shown(data.classes)}: {metric.label} cannot "
            f"be computed; give images with labels, or another data.split_seed or larger split"
        )


def check_sizes(network: nn.Module, data: Data, batch: int, progressive: ProgressiveConfig) -> None:
    """Check that a network can be trained on the images as they are cropped, also in smaller size, and evaluated.

    Raises:
        SkipweaveError: an image is too small for it, or a batch.
    """
    if not isinstance(data, SegmentationData):
        height, width = data.image_size
        check_image_size(network, (data.in_chans, height, width), batch=batch, training=True)
        for scale, _ in progressive.stages:
            smaller = data.in_chans, scaled_side(height, scale), scaled_side(width, scale)
            try:
                check_image_size(network, smaller, batch=batch, training=True)
            except SkipweaveError as error:
                raise SkipweaveError(f"progressive.scale is {scale:g}: {error}") from error
        return
    crop = data.train_transform.crop
    if crop:
        check_image_size(network, (data.in_chans, crop, crop), batch=batch, training=True)
    else:
        check_smallest_images(network, data, data.train, batch=batch, training=True)
    for images in (data.val, data.test):
        if images:
            check_smallest_images(network, data, images)


def check_smallest_images(
    network: nn.Module, data: SegmentationData, images: SegmentationDataset, *, batch: int = 1, training: bool = False
) -> None:
    """Check that a network can take the smallest of images that are not cropped.

    Raises:
        SkipweaveError: An image is too small; the message names it.
    """
    for path, size in _smallest(images, data.preprocessing.resize):
        try:
            check_image_size(network, (data.in_chans, *size), batch=batch, training=training)
        except SkipweaveError as error:
            raise SkipweaveError(f"{path}: {error}") from error


def _smallest(images: SegmentationDataset, resize: int | None) -> Iterator[tuple[Path, tuple[int, int]]]:
    """A file of each (height, width), as the network gets it, that no other size is within."""
    sizes: dict[tuple[int, int], Path] = {}
    for path, _ in images.pairs:
        try:
            header = read_header(path)
        except SkipweaveError:
            continue  # reported when it is loaded, or skipped
        scale = resize / min(header.height, header.width) if resize else 1
        sizes.setdefault((int(header.height * scale), int(header.width * scale)), path)
    for height, width in sorted(sizes):
        if not any(h <= height and w <= width for h, w in sizes if (h, w) != (height, width)):
            yield sizes[height, width], (height, width)


def notes_before(config: FitConfig, data: Data) -> tuple[str, ...]:
    """Return notes to print before the first step, one line each."""
    limits = data.preprocessing.range if config.data.name in DEEP_NAMES else None
    scaled = f"images of more than 8 bits: values from {limits[0]:g} to {limits[1]:g} become 0 to 1" if limits else ""
    workers = workers_warning(config.data.workers, config.devices)
    classes = () if isinstance(data, SegmentationData) else (*data.notes, *class_notes(config, data))
    small = size_note(data, metric_for(data, config.monitor))
    return tuple(
        filter(None, (scaled, validation_note(config, data), *classes, small, workers and f"warning: {workers}"))
    )
