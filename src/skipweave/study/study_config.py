"""What a study is asked to do, as plain values that YAML and the command line can hold."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skipweave.config.typed import take_types
from skipweave.data import DataConfig
from skipweave.errors import SkipweaveError, noted_in
from skipweave.training import DensifyConfig, FitConfig, LossConfig, ModelConfig, OptimConfig, ScheduleConfig

MATCHABLE = ("parameters", "macs")


@dataclass(frozen=True)
class NetworkConfig:
    """One network of a study.

    Attributes:
        name: a name of `skipweave models`.
        args: overrides, such as growth, units or topology.
        label: what tables and plots call it; by default the name, with its overrides.
        densify: when links are added to it while it trains, if its args sparsify it.
    """

    name: str
    args: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    densify: DensifyConfig = field(default_factory=DensifyConfig)

    def __post_init__(self) -> None:
        """Check the types of the values.

        Raises:
            SkipweaveError: every value of a wrong type.
        """
        take_types(self)

    def check(self) -> None:
        """Build the network without memory for its weights.

        Raises:
            SkipweaveError: the name or an override is unknown or does not fit.
        """
        ModelConfig(self.name, self.args).check()

    @property
    def title(self) -> str:
        """The label, or one made from name and overrides."""
        overrides = ", ".join(f"{key}={value}" for key, value in self.args.items())
        return self.label or (f"{self.name} ({overrides})" if overrides else self.name)

    @property
    def slug(self) -> str:
        """The title as a folder's name."""
        return re.sub(r"[^a-z0-9+]+", "-", self.title.lower()).strip("-")


def default_networks() -> list[NetworkConfig]:
    """Five small networks that differ only in what their layers read; widths double from stage to stage."""
    concat = {"units": 4, "growth": [4, 8, 16]}
    return [
        NetworkConfig("sparsenet40_24", {**concat, "topology": "plain"}, "plain"),
        NetworkConfig("preact_resnet56", {"units": 4, "widths": [4, 8, 16]}, "sum (ResNet)"),
        NetworkConfig("densenet40_12", concat, "dense (DenseNet)"),
        NetworkConfig("sparsenet40_24", concat, "exponential (SparseNet)"),
        NetworkConfig("sparsenet_sum56", {"units": 4, "widths": [4, 8, 16]}, "exponential sum (SparseNet[+])"),
    ]


@dataclass(frozen=True)
class StudyConfig:
    """Several networks on one data set under one recipe.

    The defaults compare five ways of aggregating on scikit-learn's handwritten digits, in about two minutes. Of 20 or
    30 epochs, a learning rate of 0.05 or 0.1, and images shifted at random or not they are what erred least on a fifth
    of the training images held out, averaged over the five networks and three seeds.

    Attributes:
        networks: the networks to compare.
        seeds: each network is trained once from each.
        data: which images; without validation images, the default here, the last epoch's weights are tested.
        optim: the optimizer.
        schedule: when the learning rate falls.
        loss: what is minimized.
        epochs: times that every training image is seen.
        batch_size: images a step.
        match: bring all networks to about the same `parameters` or `macs` by scaling growth or widths; None leaves
            them as they are.
        target: the parameters or MACs to match, such as 60000 or 60k; needed with match.
        title: the report's headline.
        output: the study's folder; one that holds this study already is gone on with.
        accelerator: auto, cpu, gpu, cuda or mps.
        precision: as for `skipweave fit`.
        processes: networks trained at the same time; None is one a core (at most 4) on the CPU, one elsewhere.
        timing_repeats: how often each network's step is timed, in turns with the others; 0 leaves the timing out.
        checkpoint_every: steps between checkpoints within an epoch; 0 for one at the end of each epoch only.
    """

    networks: list[NetworkConfig] = field(default_factory=default_networks)
    seeds: list[int] = field(default_factory=lambda: [0, 1])
    data: DataConfig = field(default_factory=lambda: DataConfig(augment=False, validation=0))
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    epochs: int = 30
    batch_size: int = 64
    match: str | None = "parameters"
    target: int | str | None = "60k"
    title: str = ""
    output: Path = Path("runs/study_digits")
    accelerator: str = "auto"
    precision: str = "32-true"
    processes: int | None = None
    timing_repeats: int = 20
    checkpoint_every: int = 0

    def __post_init__(self) -> None:
        """Check every value, by a run's settings too.

        Raises:
            SkipweaveError: every value of a wrong type, or out of its range.
        """
        take_types(self)
        slugs = [network.slug for network in self.networks]
        checks = (
            (bool(self.networks), "networks is empty: give at least one"),
            (bool(self.seeds), "seeds is empty: give at least one"),
            (len(set(self.seeds)) == len(self.seeds), f"seeds {self.seeds} repeat: give each once"),
            (len(set(slugs)) == len(slugs), f"two networks are called {_repeated(slugs)!r}: give each its own label"),
            (
                self.match is None or self.match in MATCHABLE,
                f"match is {self.match!r}: expected {' or '.join(MATCHABLE)}",
            ),
            (self.match is None or self.target is not None, "match needs a target, such as 60k"),
            (self.processes is None or self.processes >= 1, f"processes is {self.processes}: expected 1 or more"),
            (self.timing_repeats >= 0, f"timing_repeats is {self.timing_repeats}: expected 0 or more"),
        )
        problems = [problem for right, problem in checks if not right]
        for check in (lambda: parse_count(self.target or 1), lambda: self.fit_config(ModelConfig(), 0, self.output)):
            with noted_in(problems):
                check()
        if problems:
            raise SkipweaveError(*problems)

    def check(self) -> None:
        """Check that this machine has the accelerator.

        Raises:
            SkipweaveError: it has not.
        """
        self.fit_config(ModelConfig(), 0, self.output).check()

    @property
    def headline(self) -> str:
        """The title, or one made from data and number of networks."""
        return self.title or f"Which network errs least for its cost on {self.data.name}?"

    def fit_config(
        self, model: ModelConfig, seed: int, output: Path, densify: DensifyConfig | None = None
    ) -> FitConfig:
        """One run of the study, as `skipweave.training.fit` takes it."""
        return FitConfig(
            model=model,
            densify=densify or DensifyConfig(),
            data=self.data,
            optim=self.optim,
            schedule=self.schedule,
            loss=self.loss,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=seed,
            output=output,
            accelerator=self.accelerator,
            precision=self.precision,
            checkpoint_every=self.checkpoint_every,
        )


def parse_count(text: int | str) -> int:
    """A count such as 60000, `60k`, `1.5M` or `2G`.

    Raises:
        SkipweaveError: it is none.

    >>> parse_count("1.5M")
    1500000
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]?)", str(text).strip())
    count = round(float(found[1]) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[found[2]]) if found else 0
    if count < 1:
        raise SkipweaveError(f"target is {text!r}: expected a count such as 60000, 60k or 1.5M")
    return count


def _repeated(names: Sequence[str]) -> str:
    return next((name for name in names if names.count(name) > 1), "")
