"""Configuration of a study."""

import json
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import ArgsKwargs

from skipweave_config.cluster_config import RayConfig, ResourcesConfig, SlurmConfig
from skipweave_config.data_config import DataConfig
from skipweave_config.errors import SkipweaveError, noted_in
from skipweave_config.fields import (
    Count,
    FilePath,
    Flag,
    Integer,
    MemorySize,
    NonNegativeInteger,
    PlainValues,
    PositiveInteger,
    Text,
    not_empty,
)
from skipweave_config.fit_config import (
    Accelerator,
    Compile,
    Devices,
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
    check_tta,
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
    TestTimeAugmentation,
)
from skipweave_config.validation import Config, nested, shown, validate

# Most networks of one grid; a typing error may ask for millions.
_MOST_OF_A_GRID = 1000


class NetworkConfig(Config):
    """One model of a study, or several by a grid of arguments.

    Attributes:
        name: Model name, as for `skipweave fit`.
        args: Arguments of the model, such as growth, units or topology.
        label: Name in tables and plots; by default the model name with its arguments.
        grid: Lists of values of further arguments, such as {growth: [8, 12], topology: [dense, exponential]}: one
            model per combination, with these values in its label.
        densify: Incremental densification, if its args sparsify it.
        pretrained: Start from the model's pretrained weights, as for `skipweave fit`; not with `match`.
        devices: Number of devices for each run, as for `skipweave fit`.
        grad_checkpointing: Use activation checkpointing, which takes less memory and more time.
        max_memory: Memory of a process's tensors, such as 8GiB; grad_checkpointing is chosen accordingly, and the batch
            size lowered if necessary.
    """

    name: Text
    args: PlainValues = field(default_factory=dict)
    label: Text = ""
    grid: PlainValues = field(default_factory=dict)
    densify: DensifyConfig = nested(DensifyConfig)
    pretrained: Flag = False
    devices: Devices = 1
    grad_checkpointing: Flag = False
    max_memory: MemorySize | None = None

    _check_args: ClassVar[Any] = field_validator("args")(classmethod(check_args))
    _check_pretrained: ClassVar[Any] = field_validator("pretrained")(classmethod(check_pretrained))

    @field_validator("grid")
    @classmethod
    def _check_grid(cls, grid: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        problems: list[str] = []
        for name, values in grid.items():
            if name in info.data.get("args", {}):
                problems.append(f"{name} is in args too: give it in one of the two")
            if not isinstance(values, list) or not values:
                problems.append(f"{name} is {shown(values)}: should be a list of values, such as [8, 12]")
            elif (value := _repeated([json.dumps(value, sort_keys=True) for value in values])) is not None:
                problems.append(f"{name} should hold each value once: {value} is repeated")
        with noted_in(problems):
            check_args(cls, grid, info)
        if not problems and (count := prod(map(len, grid.values()))) > _MOST_OF_A_GRID:
            problems.append(f"asks for {count:,} networks: should be at most {_MOST_OF_A_GRID:,}")
        if problems:
            raise SkipweaveError(*problems)
        return grid

    @field_validator("densify")
    @classmethod
    def _check_densify(cls, densify: DensifyConfig, info: ValidationInfo) -> DensifyConfig:
        args, grid = info.data.get("args"), info.data.get("grid")
        for varied in _combinations(grid) if args is not None and grid is not None else ():
            check_links(densify, {**(args or {}), **varied})
        return densify

    def expanded(self) -> "list[NetworkConfig]":
        """One network per combination of the grid, values of the last argument next to each other."""
        if not self.grid:
            return [self]
        return [
            replace(
                self,
                args={**self.args, **varied},
                grid={},
                label=f"{self.label or self.name} ({', '.join(_assignments(varied))})",
            )
            for varied in _combinations(self.grid)
        ]

    @property
    def title(self) -> str:
        """The label, or one made of name, arguments and start."""
        overrides = ", ".join([*_assignments(self.args), *["pretrained"] * self.pretrained])
        return self.label or (f"{self.name} ({overrides})" if overrides else self.name)

    @property
    def slug(self) -> str:
        """The title as the name of a directory."""
        return re.sub(r"[^a-z0-9+]+", "-", self.title.lower()).strip("-")


class HalvingConfig(Config):
    """Successive halving: networks with a worse metric of the validation images are stopped before the last epoch.

    All networks are trained for `min_epochs`, the best 1/factor of them (rounded up) for factor x min_epochs, the best
    1/factor of these for factor^2 x min_epochs, and so on; those that remain are trained to the end. Networks are
    compared by the mean over seeds of the study's metric after so many epochs; of equal ones the first in the list
    stays.

    Attributes:
        min_epochs: Epochs after which the first networks are stopped; 0 for no halving.
        factor: Factor by which the number of networks falls and that of epochs rises.
    """

    min_epochs: NonNegativeInteger = 0
    factor: Annotated[Integer, Field(ge=2)] = 2

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """Numbers of epochs after which networks are stopped, of so many epochs.

        >>> HalvingConfig(min_epochs=2).rungs(16), HalvingConfig(min_epochs=0).rungs(16)
        ((2, 4, 8), ())
        """
        found, rung = [], self.min_epochs
        while 0 < rung < epochs:
            found.append(rung)
            rung *= self.factor
        return tuple(found)


def _combinations(grid: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _assignments(args: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in args.items()]


def _by_name(value: Any) -> Any:
    """A network that is given as its name alone."""
    return {"name": value} if isinstance(value, str) else value


#: The question of the default study.
_QUESTION = "Must the layers of a deep network read all earlier ones?"


def default_networks() -> list[NetworkConfig]:
    """Five networks of 36 convolutions in three stages that differ only in topology and aggregation."""
    concat = {"units": 12, "growth": [4, 8, 16]}
    sums = {"units": 6, "widths": [8, 16, 32]}  # of two convolutions each
    return [
        NetworkConfig("sparsenet40_24", {**concat, "topology": "plain"}, "plain"),
        NetworkConfig("preact_resnet56", sums, "sum (ResNet)"),
        NetworkConfig("densenet40_12", concat, "dense (DenseNet)"),
        NetworkConfig("sparsenet40_24", concat, "exponential (SparseNet)"),
        NetworkConfig("sparsenet_sum56", sums, "exponential sum (SparseNet[+])"),
    ]


class StudyConfig(Config):
    """Several models on one dataset under one recipe.

    The defaults compare five ways of aggregation in networks of 40 layers on scikit-learn's handwritten digits, in at
    most three minutes on 2 cores. Growth and widths are equal, so the cost of dense links shows. Ten epochs fit the
    time; of the learning rates 0.1 (the papers') and 0.2 neither had a lower validation error beyond chance, on a fifth
    of the training images and two seeds.

    A recipe of `skipweave fit` is a config too, as far as it has only options of studies: its `model` is the only
    network, unless `networks` are given, and the defaults of `data` and `optim` are those of `fit`.

    Attributes:
        networks: The models to compare: names, such as densenet40_12,sparsenet40_24,resnet18, or mappings, such as
            {name: sparsenet40_24, args: {units: 8}, label: SparseNet}; a grid makes several of one.
        seeds: Seeds; each model is trained once per seed.
        data: The dataset; without validation images, the default here, the last epoch's weights are tested.
        optim: The optimizer; by default weight decay applies to norms and biases too, as in the papers.
        schedule: The learning rate schedule.
        loss: The loss.
        ema: An exponential moving average of the weights.
        mix: Mixup and CutMix.
        progressive: Smaller training images in the first epochs.
        monitor: Metric to compare the models by, and by which the best epoch is chosen, as for `skipweave fit`.
        tta: Test-time augmentation with which the test images are evaluated a second time, as for `skipweave fit`.
        early_stopping: When to stop before the last epoch.
        halving: Successive halving, which needs validation images.
        epochs: Passes over the training images.
        batch_size: Images per step.
        match: Scale growth or widths of all models to about the same `parameters` or `macs`; null for no scaling, as
            pretrained weights and models of timm need. With a target it is `parameters`, unless it is given.
        target: Number of parameters or multiply-accumulates to match, such as 60000 or 60k.
        title: Headline of the report, by default a question.
        output: Directory of the study; an existing study in it is resumed.
        accelerator: Device type.
        precision: Precision of weights and operations, as for `skipweave fit`.
        compile: What torch.compile compiles for training, as for `skipweave fit`.
        on: Where the runs are trained: `local`, in processes of this machine; `ray`, as tasks of a Ray cluster; or
            `slurm`, as an array of SLURM jobs. The results are the same.
        processes: Runs at the same time; null for as many as the cluster has room for, and on this machine for one per
            core (at most 4) on the CPU, one elsewhere.
        resources: What each run takes of a cluster.
        ray: How the study runs with `on: ray`.
        slurm: How the study runs with `on: slurm`.
        timing_repeats: Number of timings of each model's training step, interleaved; 0 for none.
        time_engines: Time also inference on one image in the engines that are installed, for which each model is
            converted to ONNX, in some seconds.
        checkpoint_every: Steps between checkpoints within an epoch; 0 saves at the end of each epoch only.
    """

    networks: Annotated[list[Annotated[NetworkConfig, BeforeValidator(_by_name)]], AfterValidator(not_empty)] = field(
        default_factory=default_networks
    )
    seeds: Annotated[list[Integer], AfterValidator(not_empty)] = field(default_factory=lambda: [0, 1, 2])
    data: DataConfig = field(default_factory=lambda: DataConfig(augment=False, validation=0))
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(decay_norms_and_biases=True))
    schedule: ScheduleConfig = nested(ScheduleConfig)
    loss: LossConfig = nested(LossConfig)
    ema: EmaConfig = nested(EmaConfig)
    mix: MixConfig = nested(MixConfig)
    progressive: ProgressiveConfig = nested(ProgressiveConfig)
    monitor: Text | None = None
    tta: TestTimeAugmentation = "none"
    early_stopping: EarlyStoppingConfig = nested(EarlyStoppingConfig)
    halving: HalvingConfig = nested(HalvingConfig)
    epochs: PositiveInteger = 10
    batch_size: PositiveInteger = 64
    match: Literal["parameters", "macs"] | None = None
    target: Count | None = None
    title: Text = ""
    output: FilePath = Path("runs/study_digits")
    accelerator: Accelerator = "auto"
    precision: Precision = "32-true"
    compile: Compile = "auto"
    on: Literal["local", "ray", "slurm"] = "local"
    processes: PositiveInteger | None = None
    resources: ResourcesConfig = nested(ResourcesConfig)
    ray: RayConfig = nested(RayConfig)
    slurm: SlurmConfig = nested(SlurmConfig)
    timing_repeats: NonNegativeInteger = 20
    time_engines: Flag = True
    checkpoint_every: NonNegativeInteger = 0

    _check_epochs: ClassVar[Any] = field_validator("epochs")(classmethod(check_epochs))
    _check_loss: ClassVar[Any] = field_validator("loss")(classmethod(check_loss))
    _check_mix: ClassVar[Any] = field_validator("mix")(classmethod(check_mix))
    _check_progressive: ClassVar[Any] = field_validator("progressive")(classmethod(check_progressive))
    _check_monitor: ClassVar[Any] = field_validator("monitor")(classmethod(check_monitor))
    _check_tta: ClassVar[Any] = field_validator("tta")(classmethod(check_tta))
    _check_precision: ClassVar[Any] = field_validator("precision")(classmethod(check_precision))

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """With a target and no `match`, match parameters; and take the model and the defaults of a recipe."""
        given: Any = values.kwargs if isinstance(values, ArgsKwargs) else values
        if not isinstance(given, Mapping):
            return values
        if given.get("target") is not None:
            given = {"match": "parameters", **given}
        if "model" in given:
            given = _of_recipe(given)
        return ArgsKwargs(values.args, given) if isinstance(values, ArgsKwargs) else given

    @field_validator("networks")
    @classmethod
    def _check_networks(cls, networks: list[NetworkConfig]) -> list[NetworkConfig]:
        networks = [single for network in networks for single in network.expanded()]
        if unnamed := [network.title for network in networks if not network.slug]:
            raise ValueError(f"should have letters or digits in each label, which names a directory: {unnamed[0]!r}")
        if (slug := _repeated([network.slug for network in networks])) is not None:
            raise ValueError(f"should have different labels: two models are called {slug!r}")
        return networks

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: list[int]) -> list[int]:
        if (seed := _repeated(seeds)) is not None:
            raise ValueError(f"should hold each seed once: {seed} is repeated")
        return seeds

    @field_validator("batch_size")
    @classmethod
    def _check_batch_size(cls, batch_size: int, info: ValidationInfo) -> int:
        networks = info.data.get("networks", [])
        uneven = [f"{network.devices} ({network.title})" for network in networks if batch_size % network.devices]
        if uneven:
            raise ValueError(f"should be a multiple of the devices of each network: {', '.join(uneven)}")
        return batch_size

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

    @field_validator("resources")
    @classmethod
    def _check_resources(cls, resources: ResourcesConfig, info: ValidationInfo) -> ResourcesConfig:
        on = info.data.get("on")
        if on == "slurm" and resources.gpus != int(resources.gpus):
            raise ValueError(f"should have a whole number of gpus on slurm, not {resources.gpus}")
        if on == "local" and (set_here := [name for name in ("gpus", "memory") if getattr(resources, name)]):
            raise ValueError(f"should have {set_here[0]} with on: ray or slurm only")
        if resources.gpus > 1 and resources.gpus != int(resources.gpus):
            raise ValueError(f"should have gpus below 1 or a whole number, not {resources.gpus}")
        devices = max((network.devices for network in info.data.get("networks", [])), default=1)
        if devices > 1 and resources.gpus != int(resources.gpus):
            raise ValueError(f"should have a whole number of gpus for runs on {devices} devices, not {resources.gpus}")
        if on != "ray" and (only := resources.accelerator_type or list(resources.custom)):
            raise ValueError(f"should have accelerator_type and custom on ray only, not {only!r} on {on}")
        return resources

    @field_validator("ray", "slurm")
    @classmethod
    def _check_section(cls, section: Config, info: ValidationInfo) -> Config:
        on, name = info.data.get("on"), info.field_name
        if on is not None and on != name and section != type(section)():
            raise ValueError(f"should be left out, or given with --on {name}: on is {on}")
        return section

    @property
    def headline(self) -> str:
        """The title, or the question of the default networks, or one made of the dataset and a single network."""
        if not self.title and self.networks == default_networks():
            return _QUESTION
        (first, *others), data = self.networks, self.data.title
        which = "Which network is most accurate for its cost" if others else f"How accurate is {first.title}"
        return self.title or f"{which} on {data}?"

    def fit_config(
        self, model: ModelConfig, seed: int, output: Path, network: NetworkConfig | None = None
    ) -> FitConfig:
        """The config of one run of the study, for `skipweave.training.fit`; with the options of a network."""
        options = ("densify", "devices", "grad_checkpointing", "max_memory")
        return FitConfig(
            **({} if network is None else {name: getattr(network, name) for name in options}),
            model=model,
            data=self.data,
            optim=self.optim,
            schedule=self.schedule,
            loss=self.loss,
            ema=self.ema,
            mix=self.mix,
            progressive=self.progressive,
            monitor=self.monitor,
            tta=self.tta,
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


def _of_recipe(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a study, from those of a recipe: the defaults of `data` and `optim` are those of `FitConfig`."""
    model = validate(ModelConfig, values["model"], "model")
    network = {"name": model.name, "args": model.args, "pretrained": model.pretrained}
    others = {name: value for name, value in values.items() if name != "model"}
    return {"networks": [network], "data": {}, "optim": {}, "output": f"runs/study_{model.name}", **others}


def _repeated(values: Sequence[Hashable]) -> Hashable | None:
    return next((value for value in values if values.count(value) > 1), None)
