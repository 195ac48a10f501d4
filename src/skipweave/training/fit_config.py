"""What a training run is asked to do, as plain values that YAML and the command line can hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skipweave.config.byte_sizes import is_size
from skipweave.config.checks import refuse, unknown, unless
from skipweave.config.settings import as_plain
from skipweave.config.typed import take_types
from skipweave.data import DataConfig
from skipweave.training.densification import DensifyConfig
from skipweave.training.distributed.devices import make_fabric
from skipweave.training.model_building import check_network
from skipweave.training.recipe import LossConfig, OptimConfig, ScheduleConfig

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true")

#: What a resumed run may change, because it does not change the result: where the run is computed and read from.
FREE_TO_CHANGE = (
    "output",
    "accelerator",
    "checkpoint_every",
    "data.root",
    "data.classes",
    "data.download",
    "data.workers",
)

#: What a run finds in its data where it is not given: how the values of images of more than 8 bits are normalized.
FOUND = ("range", "mean", "std")


@dataclass(frozen=True)
class ModelConfig:
    """Which network.

    Attributes:
        name: a name of `skipweave models`, or of another timm model.
        args: overrides of that model, such as growth, units, topology or drop_rate; the number of classes and of
            input channels follow from the data. Any network takes `depth_multiplier` (0.5, or {alpha: 0.5, rule: ceil})
            and `sparsify` (0.1, or {density: 0.1, pattern: block, keep: [...]}) among them, with the arguments of
            `skipweave.depth_multiplier` and `skipweave.sparsify`.
    """

    name: str = "sparsenet40_12"
    args: dict[str, Any] = field(default_factory=dict)

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
        check_network(self.name, self.args)


@dataclass(frozen=True)
class FitConfig:
    """One training run. The defaults train a small SparseNet on scikit-learn's handwritten digits within half a minute.

    Attributes:
        model: which network.
        data: which images.
        optim: the optimizer.
        schedule: when the learning rate falls.
        loss: what is minimized.
        densify: when links are added to a network that `model.args.sparsify` made.
        start: a file of weights to start from, such as another run's model.safetensors, instead of random ones.
        epochs: times that every training image is seen.
        batch_size: images a step, over all processes together; an incomplete last batch of an epoch is left out.
        recompute: whether units are run again in the backward pass, which takes less memory and more time; for networks
            with `set_grad_checkpointing`.
        compile_units: whether torch.compile makes kernels of the units when they run first, which takes minutes, for
            networks of this library.
        max_memory: what a process's tensors may take, such as 8GiB; recompute is then chosen for it, and batch_size if
            need be lowered. Beside it torch, Python and a GPU's driver take some hundred MB.
        seed: decides initial weights, order, augmentation and dropout.
        output: folder that gets a new folder for this run.
        accelerator: auto, cpu, gpu, cuda or mps.
        devices: processes, one a device, on all machines together; each takes its share of every batch.
        precision: 32-true, 16-mixed, bf16-mixed, bf16-true or 64-true.
        checkpoint_every: steps between checkpoints within an epoch; 0 for one at the end of each epoch only.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    densify: DensifyConfig = field(default_factory=DensifyConfig)
    start: Path | None = None
    epochs: int = 10
    batch_size: int = 64
    recompute: bool = False
    compile_units: bool = False
    max_memory: int | str | None = None
    seed: int = 0
    output: Path = Path("runs")
    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32-true"
    checkpoint_every: int = 0

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SkipweaveError: every value of a wrong type, or out of its range.
        """
        take_types(self)
        refuse(
            unless(self.epochs >= 1, f"epochs is {self.epochs}: expected at least 1"),
            unless(
                self.epochs < 1 or self.loss.last_epochs <= self.epochs,
                f"loss.last_epochs is {self.loss.last_epochs}: expected at most epochs, which is {self.epochs}",
            ),
            unless(self.batch_size >= 1, f"batch_size is {self.batch_size}: expected at least 1"),
            unless(1 <= self.devices <= 1024, f"devices is {self.devices}: expected 1 to 1024"),
            unless(
                not 1 <= self.devices <= 1024 or self.batch_size % self.devices == 0,
                f"batch_size is {self.batch_size} and devices is {self.devices}: expected a multiple, "
                f"so that every process takes the same share",
            ),
            unless(
                self.devices == 1 or not self.densify.every,
                f"devices is {self.devices} with densify: links can be added on one device only",
            ),
            unless(self.checkpoint_every >= 0, f"checkpoint_every is {self.checkpoint_every}: expected 0 or more"),
            unless(
                self.max_memory is None or is_size(self.max_memory),
                f"max_memory is {self.max_memory!r}: expected a size such as 8GiB or 500MB",
            ),
            unknown("accelerator", self.accelerator, ACCELERATORS),
            unknown("precision", self.precision, PRECISIONS),
        )

    def check(self) -> None:
        """Check that this machine has the accelerator.

        Raises:
            SkipweaveError: it has not.
        """
        make_fabric(self.accelerator, precision=self.precision)


def differences(ours: FitConfig, theirs: FitConfig) -> list[str]:
    """Settings that differ and matter to the result, each as `name: ours, theirs`.

    Args:
        ours: the settings asked for.
        theirs: the settings of a run that exists.
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
