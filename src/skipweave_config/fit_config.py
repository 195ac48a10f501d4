"""Configuration of a training run."""

from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from skipweave_config.config_files import as_plain
from skipweave_config.data_config import SEGMENTATION_NAMES, DataConfig, tasks_of
from skipweave_config.errors import SkipweaveError, noted_in
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
from skipweave_config.hints import nearest
from skipweave_config.model_table import COMPRESSION, check_args, sparsify_density
from skipweave_config.recipe import (
    MONITORS,
    DensifyConfig,
    EarlyStoppingConfig,
    EmaConfig,
    LossConfig,
    MixConfig,
    OptimConfig,
    ProgressiveConfig,
    ScheduleConfig,
    TestTimeAugmentation,
)
from skipweave_config.validation import Config, nested

Accelerator = Literal["auto", "cpu", "gpu", "cuda", "mps"]
Compile = Literal["auto", "none", "units", "network"]
Devices = Annotated[PositiveInteger, Field(le=1024)]
Precision = Literal["auto", "32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"]

#: Fields that may change when a run is resumed, because the result does not depend on them.
FREE_TO_CHANGE = (
    "output",
    "accelerator",
    "checkpoint_every",
    "loggers",
    "data.root",
    "data.classes",
    "data.labels",
    "data.download",
    "data.workers",
)

#: Fields that may change to extend a run; `epochs` upwards only.
FREE_TO_EXTEND = ("epochs", "early_stopping.patience")

# Optimizers whose state of a weight is of its shape, so that links can be added to it.
_MOMENTS_PER_WEIGHT = ("sgd", "momentum", "nesterov", "rmsprop", "rmsproptf", "adam", "adamw")

#: Fields of the data that a run computes from the training images if they are not given.
COMPUTED_FIELDS = ("range", "window", "mean", "std")


def check_pretrained(cls: type, pretrained: bool, info: ValidationInfo) -> bool:
    """Validator of `pretrained`: no weights of a whole network for a compressed one."""
    given = {**info.data.get("args", {}), **info.data.get("grid", {})}
    compressed = [name for name in COMPRESSION if name in given]
    if pretrained and compressed:
        raise ValueError(f"does not apply with args.{compressed[0]}: pretrained weights are of the whole network")
    return pretrained


class ModelConfig(Config):
    """The model.

    Attributes:
        name: Model name: one that `skipweave models` lists, or another timm model; for segmentation also
            `smp:DECODER:ENCODER`, such as smp:unet:tu-sparsenet121_32 or smp:deeplabv3plus:resnet18, with decoders and
            encoders of segmentation_models_pytorch (`tu-` and a model's name for ours and timm's).
        args: Arguments of the model, such as growth, units, topology or drop_rate; the number of classes and of input
            channels follow from the data. Every model takes `depth_multiplier` (0.5, or {alpha: 0.5, rule: ceil}) and
            `sparsify` (0.1, or {density: 0.1, pattern: block, keep: [...]}), with the arguments of
            `skipweave.depth_multiplier` and `skipweave.sparsify`.
        pretrained: Start from the model's pretrained weights, which are downloaded if they are not in the cache. The
            name may have a tag of weights, such as `densenet121_32.tv_in1k`. With `args.topology` a DenseNet's weights
            of the links that the topology has. Of `smp:DECODER:ENCODER` the encoder's pretrained weights.
    """

    name: Text = "sparsenet40_12"
    args: PlainValues = field(default_factory=dict)
    pretrained: Flag = False

    _check_args: ClassVar[Any] = field_validator("args")(classmethod(check_args))

    _check_pretrained: ClassVar[Any] = field_validator("pretrained")(classmethod(check_pretrained))


def check_epochs(cls: type, epochs: int, info: ValidationInfo) -> int:
    """Validator of `epochs`: enough for the parts of a run that are counted in epochs."""
    for name in ("loss", "mix"):
        if (config := info.data.get(name)) and config.last_epochs > epochs:
            raise ValueError(f"should be at least {name}.last_epochs, which is {config.last_epochs}")
    for number, group in enumerate(optim.groups if (optim := info.data.get("optim")) else ()):
        if group.epochs and group.epochs > epochs:
            raise ValueError(f"should be at least optim.groups[{number}].epochs, which is {group.epochs}")
    if (progressive := info.data.get("progressive")) and (smaller := sum(progressive.epochs)) >= epochs:
        raise ValueError(f"should be more than progressive.epochs, which is {smaller}")
    if (halving := info.data.get("halving")) and halving.min_epochs >= epochs:
        raise ValueError(f"should be more than halving.min_epochs, which is {halving.min_epochs}")
    if (schedule := info.data.get("schedule")) and schedule.warmup_epochs >= epochs:
        raise ValueError(f"should be more than schedule.warmup_epochs, which is {schedule.warmup_epochs:g}")
    return epochs


def check_loss(cls: type, loss: LossConfig, info: ValidationInfo) -> LossConfig:
    """Validator of `loss`: no label smoothing of masks, no losses of masks for labels of images, and class weights."""
    data = info.data.get("data")
    if data is None:
        return loss
    problems = []
    if data.name in SEGMENTATION_NAMES:
        if loss.label_smoothing:
            problems.append(f"label_smoothing is not for the segmentation masks of {data.name}: leave it out")
        if loss.class_weights == "balanced":
            problems.append(f"class_weights is balanced, but {data.name} has masks: use median_frequency")
    else:
        if loss.name != "cross_entropy":
            problems.append(
                f"name {loss.name} is for segmentation masks, which {data.name} does not have: leave it out"
            )
        if loss.class_weights == "median_frequency":
            problems.append(f"class_weights is median_frequency, but {data.name} has no masks: use balanced")
    if problems:
        raise SkipweaveError(*problems)
    return loss


def check_mix(cls: type, mix: MixConfig, info: ValidationInfo) -> MixConfig:
    """Validator of `mix`: no mixing of segmentation masks."""
    asked = " and ".join(name for name in ("mixup", "cutmix") if getattr(mix, name))
    if asked and (data := info.data.get("data")) and data.name in SEGMENTATION_NAMES:
        raise SkipweaveError(f"{asked} cannot mix the segmentation masks of {data.name}: leave it out")
    return mix


def check_progressive(cls: type, progressive: ProgressiveConfig, info: ValidationInfo) -> ProgressiveConfig:
    """Validator of `progressive`: no smaller images with masks."""
    if progressive.stages and (data := info.data.get("data")) and data.name in SEGMENTATION_NAMES:
        epochs = ", ".join(map(str, progressive.epochs))
        raise SkipweaveError(f"epochs is {epochs}, but {data.name} has masks, which are not resized: leave it out")
    return progressive


def check_precision(cls: type, precision: str, info: ValidationInfo) -> str:
    """Validator of `precision`: at least 32 bits for the weights where they are averaged."""
    if precision == "bf16-true" and (ema := info.data.get("ema")) and ema.decay:
        raise ValueError("should be bf16-mixed or 32-true with ema.decay: an average needs weights of 32 bits")
    return precision


def check_tta(cls: type, tta: TestTimeAugmentation, info: ValidationInfo) -> TestTimeAugmentation:
    """Validator of `tta`: no shifts of masks."""
    if tta == "flip_shift" and (data := info.data.get("data")) and data.name in SEGMENTATION_NAMES:
        raise ValueError(f"should be none or flip: {data.name} has masks, which are not shifted")
    return tta


def check_monitor(cls: type, monitor: str | None, info: ValidationInfo) -> str | None:
    """Validator of `monitor`: a metric of the task, as far as the name of the dataset determines that."""
    data = info.data.get("data")
    tasks = tasks_of(data.name) if data else tuple(MONITORS)
    valid = list(dict.fromkeys(name for task in tasks for name in MONITORS[task]))
    if monitor is not None and monitor not in valid:
        raise ValueError(f"{nearest(monitor, valid)}should be one of {', '.join(valid)}")
    return monitor


def check_links(densify: DensifyConfig, args: Mapping[str, Any] | None) -> DensifyConfig:
    """Check that a model's arguments sparsify the network that links are to be added to; None if they are not known.

    Raises:
        SkipweaveError: They do not, or to a density that the first addition does not raise.
    """
    if not densify.every or args is None:
        return densify
    start = sparsify_density(args)
    if start is None:
        raise SkipweaveError("every needs a network to add links to: give model.args.sparsify a density to start from")
    if start == 1:
        raise SkipweaveError(
            "every has no effect: model.args.sparsify has density 1; give it a lower one to start from"
        )
    if densify.densities and densify.densities[0] <= start:
        raise SkipweaveError(
            f"densities begins with {densify.densities[0]:g}: expected more than {start:g}, the density of "
            f"model.args.sparsify"
        )
    return densify


class FitConfig(Config):
    """A training run. The defaults train a small SparseNet on scikit-learn's handwritten digits within half a minute.

    Attributes:
        model: The model.
        data: The dataset.
        optim: The optimizer.
        schedule: The learning rate schedule.
        loss: The loss.
        ema: An exponential moving average of the weights.
        mix: Mixup and CutMix.
        progressive: Smaller training images in the first epochs.
        monitor: Metric of the validation images by which the best epoch is chosen (of equal values that with the lowest
            validation loss), and which `early_stopping` and the schedule `plateau` watch: by default `top1_error`,
            `mean_average_precision` with several labels per image, `mean_iou` for masks. Others are top1_accuracy,
            top5_error, balanced_accuracy and macro_f1; mean_dice and pixel_accuracy for masks; loss.
        tta: Test-time augmentation, as for `skipweave test`, with which the test images are evaluated once more after
            training: `none`, `flip` or `flip_shift`. These metrics are called `tta_NAME`.
        early_stopping: When to stop before the last epoch.
        densify: Incremental densification.
        start: Weights to start from: a run directory, a file of weights (.safetensors of this library or timm, .pth of
            torchvision or timm) or, on the command line only, hf-hub:USER/REPO. If the classes differ, the classifier
            is random. Random initialization by default.
        freeze: Parts of the network that are not trained, with their running statistics: `none`, `stem`, `stages` (all
            but the classifier), or a number of stages from the stem on.
        freeze_norms: Whether the running statistics, weights and biases of all batch norms stay as they are; for models
            with batch norms.
        epochs: Passes over the training images.
        batch_size: Images per batch, over all processes together; a step takes one batch, or `optim.accumulate` of
            them. An incomplete last one of an epoch is dropped.
        grad_checkpointing: Use activation checkpointing, which takes less memory and more time; for models with
            `set_grad_checkpointing`.
        compile: What torch.compile compiles for training, at the first step, which takes minutes: `none`; each of the
            `units`, for models of this library; the whole `network`; or `auto`, which chooses `network` where it was
            measured to be faster, else `none`. Evaluation is not compiled.
        max_memory: Memory of a process's tensors, such as 8GiB; grad_checkpointing is chosen accordingly, and
            batch_size lowered if necessary. torch, Python and the GPU driver need some hundred MB more.
        seed: Seed of initial weights, data order, augmentation and dropout.
        output: Directory in which the run directory is created.
        accelerator: Device type.
        devices: Number of processes, one per device, on all machines together; each takes an equal part of every
            batch.
        precision: Precision of weights and operations, as Lightning Fabric calls it; or `auto`: bf16-mixed on devices
            with instructions for bfloat16 (CUDA GPUs, and processors on Linux, which lists them), else 32-true.
        checkpoint_every: Steps between checkpoints within an epoch; 0 saves at the end of each epoch only.
        loggers: Experiment trackers, if installed: wandb (offline unless WANDB_MODE is set) and mlflow. Their failures
            are reported and do not stop the run. TensorBoard events are always written to the run directory.
    """

    model: ModelConfig = nested(ModelConfig)
    data: DataConfig = nested(DataConfig)
    optim: OptimConfig = nested(OptimConfig)
    schedule: ScheduleConfig = nested(ScheduleConfig)
    loss: LossConfig = nested(LossConfig)
    ema: EmaConfig = nested(EmaConfig)
    mix: MixConfig = nested(MixConfig)
    progressive: ProgressiveConfig = nested(ProgressiveConfig)
    monitor: Text | None = None
    tta: TestTimeAugmentation = "none"
    early_stopping: EarlyStoppingConfig = nested(EarlyStoppingConfig)
    densify: DensifyConfig = nested(DensifyConfig)
    start: FilePath | None = None
    freeze: Literal["none", "stem", "stages"] | PositiveInteger = "none"
    freeze_norms: Flag = False
    epochs: PositiveInteger = 10
    batch_size: PositiveInteger = 64
    grad_checkpointing: Flag = False
    compile: Compile = "auto"
    max_memory: MemorySize | None = None
    seed: Integer = 0
    output: FilePath = Path("runs")
    accelerator: Accelerator = "auto"
    devices: Devices = 1
    precision: Precision = "32-true"
    checkpoint_every: NonNegativeInteger = 0
    loggers: tuple[Literal["wandb", "mlflow"], ...] = ()

    _check_epochs: ClassVar[Any] = field_validator("epochs")(classmethod(check_epochs))
    _check_loss: ClassVar[Any] = field_validator("loss")(classmethod(check_loss))
    _check_mix: ClassVar[Any] = field_validator("mix")(classmethod(check_mix))
    _check_progressive: ClassVar[Any] = field_validator("progressive")(classmethod(check_progressive))
    _check_monitor: ClassVar[Any] = field_validator("monitor")(classmethod(check_monitor))
    _check_tta: ClassVar[Any] = field_validator("tta")(classmethod(check_tta))
    _check_precision: ClassVar[Any] = field_validator("precision")(classmethod(check_precision))

    @field_validator("densify")
    @classmethod
    def _check_densify(cls, densify: DensifyConfig, info: ValidationInfo) -> DensifyConfig:
        ema, optim, model = (info.data.get(name) for name in ("ema", "optim", "model"))
        problems: list[str] = []
        with noted_in(problems):
            check_links(densify, model.args if model else None)
        if densify.every and ema and ema.decay:
            problems.append("every cannot be set with ema.decay: links are added to one network only")
        used = [optim.name, *(group.name or optim.name for group in optim.groups)] if densify.every and optim else []
        problems += [
            f"every cannot be set with the optimizer {name}: links are added to the state of "
            f"{', '.join(_MOMENTS_PER_WEIGHT)}"
            for name in dict.fromkeys(used)
            if name not in _MOMENTS_PER_WEIGHT
        ]
        if problems:
            raise SkipweaveError(*problems)
        return densify

    @field_validator("start")
    @classmethod
    def _check_start(cls, start: Path | None, info: ValidationInfo) -> Path | None:
        model = info.data.get("model")
        if start is not None and model is not None and model.pretrained:
            raise ValueError("does not apply with model.pretrained: give one of the two")
        return start

    @field_validator("devices")
    @classmethod
    def _check_devices(cls, devices: int, info: ValidationInfo) -> int:
        batch_size = info.data.get("batch_size", 0)
        if batch_size % devices:
            raise ValueError(f"should divide batch_size, which is {batch_size}")
        return devices


def as_begun(config: FitConfig, begun: FitConfig) -> FitConfig:
    """A config of a run that was begun before, with what `auto` stood for then.

    Args:
        config: The config.
        begun: The run's own.
    """
    compiled = config.compile == "auto" or config.densify.every
    return replace(
        config,
        compile=begun.compile if compiled else config.compile,
        precision=begun.precision if config.precision == "auto" else config.precision,
    )


def differences(ours: FitConfig, theirs: FitConfig) -> dict[str, str]:
    """Fields that differ and affect the result, each with `name: ours, not theirs`.

    Args:
        ours: The config asked for.
        theirs: The config of an existing run.
    """
    mine, other = dict(leaves(as_plain(ours))), dict(leaves(as_plain(theirs)))
    return {
        name: f"{name}: {mine.get(name)}, not {other.get(name)}"
        for name in sorted(mine | other)
        if name not in FREE_TO_CHANGE and mine.get(name) != other.get(name)
    }


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a config as plain data, each with its name, such as `optim.lr`."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
