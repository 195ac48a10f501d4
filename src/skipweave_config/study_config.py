"""Configuration of a study."""

import re
from collections.abc import Hashable, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ValidationInfo, field_validator

from skipweave_config.data_config import DataConfig
from skipweave_config.fields import (
    Count,
    FilePath,
    Flag,
    Integer,
    NonNegativeInteger,
    PlainValues,
    PositiveInteger,
    Text,
    not_empty,
)
from skipweave_config.fit_config import (
    Accelerator,
    Compile,
    FitConfig,
    ModelConfig,
    Precision,
    check_epochs,
    check_links,
    check_loss,
    check_mix,
    check_monitor,
    check_precision,
    check_pretrained,
    check_progressive,
)
from skipweave_config.model_table import check_args
from skipweave_config.recipe import (
    DensifyConfig,
    EarlyStoppingConfig,
    EmaConfig,
    LossConfig,
    MixConfig,
    OptimConfig,
    ProgressiveConfig,
    ScheduleConfig,
)
from skipweave_config.validation import Config, nested


class NetworkConfig(Config):
    """One model of a study.

    Attributes:
        name: Model name, as for `skipweave fit`.
        args: Arguments of the model, such as growth, units or topology.
        label: Name in tables and plots; by default the model name with its arguments.
        densify: Incremental densification, if its args sparsify it.
        pretrained: Start from the model's pretrained weights, as for `skipweave fit`; not with `match`.
    """

    name: Text
    args: PlainValues = field(default_factory=dict)
    label: Text = ""
    densify: DensifyConfig = nested(DensifyConfig)
    pretrained: Flag = False

    _check_args: ClassVar[Any] = field_validator("args")(classmethod(check_args))
    _check_pretrained: ClassVar[Any] = field_validator("pretrained")(classmethod(check_pretrained))

    @field_validator("densify")
    @classmethod
    def _check_densify(cls, densify: DensifyConfig, info: ValidationInfo) -> DensifyConfig:
        return check_links(densify, info.data.get("args"))

    @property
    def title(self) -> str:
        """The label, or one made of name, arguments and start."""
        overrides = ", ".join(
            [*(f"{key}={value}" for key, value in self.args.items()), *["pretrained"] * self.pretrained]
        )
        return self.label or (f"{self.name} ({overrides})" if overrides else self.name)

    @property
    def slug(self) -> str:
        """The title as the name of a directory."""
        return re.sub(r"[^a-z0-9+]+", "-", self.title.lower()).strip("-")


def default_networks() -> list[NetworkConfig]:
    """Five small models that differ only in their topology and aggregation; widths double from stage to stage."""
    concat = {"units": 4, "growth": [4, 8, 16]}
    return [
        NetworkConfig("sparsenet40_24", {**concat, "topology": "plain"}, "plain"),
        NetworkConfig("preact_resnet56", {"units": 4, "widths": [4, 8, 16]}, "sum (ResNet)"),
        NetworkConfig("densenet40_12", concat, "dense (DenseNet)"),
        NetworkConfig("sparsenet40_24", concat, "exponential (SparseNet)"),
        NetworkConfig("sparsenet_sum56", {"units": 4, "widths": [4, 8, 16]}, "exponential sum (SparseNet[+])"),
    ]


class StudyConfig(Config):
    """Several models on one dataset under one recipe.

    The defaults compare five ways of aggregation on scikit-learn's handwritten digits, in about two minutes. Epochs (20
    or 30), learning rate (0.05 or 0.1) and augmentation were chosen by validation error on a fifth of the training
    images, averaged over the five models and three seeds.

    Attributes:
        networks: The models to compare.
        seeds: Seeds; each model is trained once per seed.
        data: The dataset; without validation images, the default here, the last epoch's weights are tested.
        optim: The optimizer; by default weight decay applies to norms and biases too, as in the papers.
        schedule: The learning rate schedule.
        loss: The loss.
        ema: An exponential moving average of the weights.
        mix: Mixup and CutMix.
        progressive: Smaller training images in the first epochs.
        monitor: Metric to compare the models by, and by which the best epoch is chosen, as for `skipweave fit`.
        early_stopping: When to stop before the last epoch.
        epochs: Passes over the training images.
        batch_size: Images per step.
        match: Scale growth or widths of all models to about the same `parameters` or `macs`; null for no scaling, as
            pretrained weights need.
        target: Number of parameters or multiply-accumulates to match, such as 60000 or 60k.
        title: Headline of the report.
        output: Directory of the study; an existing study in it is resumed.
        accelerator: Device type.
        precision: Precision of weights and operations, as for `skipweave fit`.
        compile: What torch.compile compiles for training, as for `skipweave fit`.
        processes: Models trained at the same time; null for one per core (at most 4) on the CPU, one elsewhere.
        timing_repeats: Number of timings of each model's training step, interleaved; 0 for none.
        time_engines: Time also inference on one image in the engines that are installed, for which each model is
            converted to ONNX, in some seconds.
        checkpoint_every: Steps between checkpoints within an epoch; 0 saves at the end of each epoch only.
    """

    networks: Annotated[list[NetworkConfig], AfterValidator(not_empty)] = field(default_factory=default_networks)
    seeds: Annotated[list[Integer], AfterValidator(not_empty)] = field(default_factory=lambda: [0, 1])
    data: DataConfig = field(default_factory=lambda: DataConfig(augment=False, validation=0))
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(decay_norms_and_biases=True))
    schedule: ScheduleConfig = nested(ScheduleConfig)
    loss: LossConfig = nested(LossConfig)
    ema: EmaConfig = nested(EmaConfig)
    mix: MixConfig = nested(MixConfig)
    progressive: ProgressiveConfig = nested(ProgressiveConfig)
    monitor: Text | None = None
    early_stopping: EarlyStoppingConfig = nested(EarlyStoppingConfig)
    epochs: PositiveInteger = 30
    batch_size: PositiveInteger = 64
    match: Literal["parameters", "macs"] | None = "parameters"
    target: Count | None = 60_000
    title: Text = ""
    output: FilePath = Path("runs/study_digits")
    accelerator: Accelerator = "auto"
    precision: Precision = "32-true"
    compile: Compile = "auto"
    processes: PositiveInteger | None = None
    timing_repeats: NonNegativeInteger = 20
    time_engines: Flag = True
    checkpoint_every: NonNegativeInteger = 0

    _check_epochs: ClassVar[Any] = field_validator("epochs")(classmethod(check_epochs))
    _check_loss: ClassVar[Any] = field_validator("loss")(classmethod(check_loss))
    _check_mix: ClassVar[Any] = field_validator("mix")(classmethod(check_mix))
    _check_progressive: ClassVar[Any] = field_validator("progressive")(classmethod(check_progressive))
    _check_monitor: ClassVar[Any] = field_validator("monitor")(classmethod(check_monitor))
    _check_precision: ClassVar[Any] = field_validator("precision")(classmethod(check_precision))

    @field_validator("networks")
    @classmethod
    def _check_networks(cls, networks: list[NetworkConfig]) -> list[NetworkConfig]:
        if (slug := _repeated([network.slug for network in networks])) is not None:
            raise ValueError(f"should have different labels: two models are called {slug!r}")
        return networks

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: list[int]) -> list[int]:
        if (seed := _repeated(seeds)) is not None:
            raise ValueError(f"should hold each seed once: {seed} is repeated")
        return seeds

    @field_validator("match")
    @classmethod
    def _check_match(cls, match: str | None, info: ValidationInfo) -> str | None:
        started = [network.title for network in info.data.get("networks", []) if network.pretrained]
        if match and started:
            raise ValueError(f"should be null, as the pretrained weights of {started[0]} are of its own widths")
        return match

    @field_validator("target")
    @classmethod
    def _check_target(cls, target: int | None, info: ValidationInfo) -> int | None:
        if target is None and info.data.get("match"):
            raise ValueError("should be a count to match, such as 60k")
        return target

    @property
    def headline(self) -> str:
        """The title, or one made of the dataset."""
        return self.title or f"Which network is most accurate for its cost on {self.data.title}?"

    def fit_config(
        self, model: ModelConfig, seed: int, output: Path, densify: DensifyConfig | None = None
    ) -> FitConfig:
        """The config of one run of the study, for `skipweave.training.fit`."""
        return FitConfig(
            model=model,
            densify=densify or DensifyConfig(),
            data=self.data,
            optim=self.optim,
            schedule=self.schedule,
            loss=self.loss,
            ema=self.ema,
            mix=self.mix,
            progressive=self.progressive,
            monitor=self.monitor,
            early_stopping=self.early_stopping,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=seed,
            output=output,
            accelerator=self.accelerator,
            precision=self.precision,
            compile=self.compile,
            checkpoint_every=self.checkpoint_every,
        )


def _repeated(values: Sequence[Hashable]) -> Hashable | None:
    return next((value for value in values if values.count(value) > 1), None)
