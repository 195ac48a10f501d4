"""Configuration of a training run."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from skipweave_config.config_files import as_plain
from skipweave_config.data_config import DataConfig
from skipweave_config.fields import (
    FilePath,
    Flag,
    Integer,
    MemorySize,
    NonNegativeInteger,
    PlainValues,
    PositiveInteger,
    Text,
)
from skipweave_config.model_table import check_args
from skipweave_config.recipe import DensifyConfig, LossConfig, OptimConfig, ScheduleConfig
from skipweave_config.validation import Config, nested

Accelerator = Literal["auto", "cpu", "gpu", "cuda", "mps"]
Precision = Literal["32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"]

#: Fields that may change when a run is resumed, because the result does not depend on them.
FREE_TO_CHANGE = (
    "output",
    "accelerator",
    "checkpoint_every",
    "data.root",
    "data.classes",
    "data.download",
    "data.workers",
)

#: Fields of the data that a run computes from the training images if they are not given.
COMPUTED_FIELDS = ("range", "mean", "std")


class ModelConfig(Config):
    """The model.

    Attributes:
        name: Model name: one that `skipweave models` lists, or another timm model.
        args: Arguments of the model, such as growth, units, topology or drop_rate; the number of classes and of input
            channels follow from the data. Every model takes `depth_multiplier` (0.5, or {alpha: 0.5, rule: ceil}) and
            `sparsify` (0.1, or {density: 0.1, pattern: block, keep: [...]}), with the arguments of
            `skipweave.depth_multiplier` and `skipweave.sparsify`.
    """

    name: Text = "sparsenet40_12"
    args: PlainValues = field(default_factory=dict)

    _check_args: ClassVar[Any] = field_validator("args")(classmethod(check_args))


def check_last_epochs(cls: type, epochs: int, info: ValidationInfo) -> int:
    """Validator of `epochs`: no fewer than `loss.last_epochs`."""
    loss = info.data.get("loss")
    if loss and loss.last_epochs > epochs:
        raise ValueError(f"should be at least loss.last_epochs, which is {loss.last_epochs}")
    return epochs


class FitConfig(Config):
    """A training run. The defaults train a small SparseNet on scikit-learn's handwritten digits within half a minute.

    Attributes:
        model: The model.
        data: The dataset.
        optim: The optimizer.
        schedule: The learning rate schedule.
        loss: The loss.
        densify: Incremental densification.
        start: Weights to start from, such as another run's model.safetensors; random initialization by default.
        epochs: Passes over the training images.
        batch_size: Images per batch, over all processes together; a step takes one batch, or `optim.accumulate` of
            them. An incomplete last one of an epoch is dropped.
        grad_checkpointing: Use activation checkpointing, which takes less memory and more time; for models with
            `set_grad_checkpointing`.
        compile_units: Compile the units with torch.compile at their first use, which takes minutes; for models of this
            library.
        max_memory: Memory of a process's tensors, such as 8GiB; grad_checkpointing is chosen accordingly, and
            batch_size lowered if necessary. torch, Python and the GPU driver need some hundred MB more.
        seed: Seed of initial weights, data order, augmentation and dropout.
        output: Directory in which the run directory is created.
        accelerator: Device type.
        devices: Number of processes, one per device, on all machines together; each takes an equal part of every
            batch.
        precision: Precision of weights and operations, as Lightning Fabric calls it.
        checkpoint_every: Steps between checkpoints within an epoch; 0 saves at the end of each epoch only.
    """

    model: ModelConfig = nested(ModelConfig)
    data: DataConfig = nested(DataConfig)
    optim: OptimConfig = nested(OptimConfig)
    schedule: ScheduleConfig = nested(ScheduleConfig)
    loss: LossConfig = nested(LossConfig)
    densify: DensifyConfig = nested(DensifyConfig)
    start: FilePath | None = None
    epochs: PositiveInteger = 10
    batch_size: PositiveInteger = 64
    grad_checkpointing: Flag = False
    compile_units: Flag = False
    max_memory: MemorySize | None = None
    seed: Integer = 0
    output: FilePath = Path("runs")
    accelerator: Accelerator = "auto"
    devices: Annotated[PositiveInteger, Field(le=1024)] = 1
    precision: Precision = "32-true"
    checkpoint_every: NonNegativeInteger = 0

    _check_last_epochs: ClassVar[Any] = field_validator("epochs")(classmethod(check_last_epochs))

    @field_validator("devices")
    @classmethod
    def _check_devices(cls, devices: int, info: ValidationInfo) -> int:
        batch_size, densify = info.data.get("batch_size", 0), info.data.get("densify")
        if batch_size % devices:
            raise ValueError(f"should divide batch_size, which is {batch_size}")
        if devices > 1 and densify and densify.every:
            raise ValueError("should be 1 with densify, which adds links on one device only")
        return devices


def differences(ours: FitConfig, theirs: FitConfig) -> list[str]:
    """Fields that differ and affect the result, each as `name: ours, not theirs`.

    Args:
        ours: The config asked for.
        theirs: The config of an existing run.
    """
    mine, other = dict(_leaves(as_plain(ours))), dict(_leaves(as_plain(theirs)))
    return [
        f"{name}: {mine.get(name)}, not {other.get(name)}"
        for name in sorted(mine | other)
        if name not in FREE_TO_CHANGE and mine.get(name) != other.get(name)
    ]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
