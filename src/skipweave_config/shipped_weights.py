"""Weights that ship with the package, read from their files without torch.

`skipweave/weights/MODEL.TAG/` is a directory as `skipweave export --formats timm` writes it, with float16 weights, and
`Facts` in `config.json`. `skipweave publish` writes it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skipweave_config.errors import SkipweaveError

FOLDER = Path(__file__).parents[1] / "skipweave" / "weights"

DEFAULT_CLASSIFIER = "sparsenet_fast_64.cifar10"
"""Weights of `skipweave predict` without `--run` and `--model`."""

WEIGHTS_FILE = "model.safetensors"
"""File of weights in a run directory, in a repository on the Hub, and here."""

ENTRY = "skipweave"
"""Key of `Facts` in `config.json`."""

SAMPLE = "sample"
"""Split of the first 20 test images of each class, on which tests recompute the metric."""

CONFIG = "config.json"
"""timm's config with `Facts`."""

RECIPE = "config.yaml"
"""Config of the run."""

_MEASURED = ("metric", "label", "unit", "results")


@dataclass(frozen=True)
class Result:
    """A measured metric.

    Attributes:
        split: `validation`, `test`, or `SAMPLE`.
        weights: `float32`, as trained; `float16`, as shipped; or `int8`, quantized and run by OpenVINO.
        tta: Test-time augmentation, as for `skipweave test --tta`.
        value: Value of the metric.
        images: Number of images.
    """

    split: str
    weights: str
    tta: str
    value: float
    images: int


@dataclass(frozen=True)
class Facts:
    """What weights are, beyond timm's config.

    Attributes:
        sha256: Of the file of weights.
        bytes: Size of the file.
        metric: Name of the metric of `results`, such as `top1_error`.
        label: Its name in text, such as `top-1 error`.
        unit: Its unit, such as `%`; empty if it has none.
        results: Measured values.
        data: Name of the training dataset.
        data_terms: Origin of the dataset and terms of its use.
        seed: Of the run.
        epochs: Of the run.
        commit: Commit of skipweave that trained the network.
        device: Machine that trained the network.
        hours: Wall-clock hours of training.
    """

    sha256: str
    bytes: int
    metric: str
    label: str
    unit: str
    results: tuple[Result, ...]
    data: str
    data_terms: str
    seed: int
    epochs: int
    commit: str
    device: str
    hours: float

    def value(self, split: str = "test", weights: str = "float16", *, augmented: bool = False) -> float | None:
        """Value of the metric, with test-time augmentation or without; None if it was not measured."""
        chosen = (each for each in self.results if (each.split, each.weights) == (split, weights))
        return next((each.value for each in chosen if (each.tta != "none") == augmented), None)

    def text(self, value: float | None) -> str:
        """A value with its unit; empty for None."""
        return "" if value is None else f"{value:.2f} {self.unit}".rstrip()

    @property
    def metrics(self) -> dict[str, str]:
        """Values with their unit, by what was measured, such as "top-1 error, test images, float16"."""
        return {self._title(each): self.text(each.value) for each in self.results if each.split != SAMPLE}

    def _title(self, result: Result) -> str:
        weights = "int8 by OpenVINO from float32" if result.weights == "int8" else result.weights
        augmented = "" if result.tta == "none" else f", test-time augmentation {result.tta}"
        return f"{self.label}, {result.split} images, {weights}{augmented}"


@dataclass(frozen=True)
class ShippedWeights:
    """Weights that ship with the package.

    Attributes:
        folder: Their directory, named MODEL.TAG.
        config: timm's config.
        facts: What else is known of them.
    """

    folder: Path
    config: Mapping[str, Any]
    facts: Facts

    @property
    def name(self) -> str:
        """MODEL.TAG."""
        return self.folder.name

    @property
    def model(self) -> str:
        """Name of the registered model."""
        return self.name.partition(".")[0]

    @property
    def tag(self) -> str:
        """Tag of the weights."""
        return self.name.partition(".")[2]

    @property
    def file(self) -> Path:
        """The file of weights; `verified` checks it."""
        return self.folder / WEIGHTS_FILE

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """Entries of timm's `pretrained_cfg`, which loads the local file."""
        facts, config = self.facts, self.config
        entries = {
            key: tuple(value) if isinstance(value, list) else value for key, value in config["pretrained_cfg"].items()
        }
        notes = {name: value for name, value in asdict(facts).items() if name not in _MEASURED}
        notes |= {"recipe": self.folder / RECIPE, **facts.metrics}
        return {
            **entries,
            "file": str(self.file),
            "num_classes": config["num_classes"],
            "label_names": tuple(config["label_names"]),
            "description": f"trained on {facts.data}; test {facts.label} {facts.text(facts.value())}",
            "notes": tuple(f"{name}: {value}" for name, value in notes.items()),
        }

    def verified(self) -> Path:
        """The file of weights, after its checksum was compared.

        Raises:
            SkipweaveError: It is missing or damaged.
        """
        try:
            content = self.file.read_bytes()
        except OSError as error:
            raise SkipweaveError(
                f"the weights {self.name} cannot be read: {self.file}: {error.strerror}; install skipweave again"
            ) from error
        found = hashlib.sha256(content).hexdigest()
        if found != self.facts.sha256:
            raise SkipweaveError(
                f"the weights {self.name} are damaged: {self.file} has sha256 {found}, expected {self.facts.sha256}; "
                "install skipweave again"
            )
        return self.file


def shipped_weights(model: str = "*") -> dict[str, ShippedWeights]:
    """The weights that ship with the package, by name.

    Args:
        model: Name of a registered model; all by default.

    Raises:
        SkipweaveError: The package is damaged.
    """
    return {path.parent.name: _read(path) for path in sorted(FOLDER.glob(f"{model}.*/{CONFIG}"))}


def default_classifier() -> ShippedWeights:
    """The weights of `DEFAULT_CLASSIFIER`.

    Raises:
        SkipweaveError: The package has none, or is damaged.
    """
    shipped = shipped_weights().get(DEFAULT_CLASSIFIER)
    if shipped is None:
        raise SkipweaveError(
            f"this version of skipweave ships no weights {DEFAULT_CLASSIFIER}, the default: give --model, or --run"
        )
    return shipped


def _facts(entry: Mapping[str, Any]) -> Facts:
    return Facts(**{**entry, "results": tuple(Result(**result) for result in entry["results"])})


def _read(path: Path) -> ShippedWeights:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if missing := {"pretrained_cfg", "num_classes", "label_names"} - config.keys():
            raise KeyError(*sorted(missing))
        return ShippedWeights(path.parent, config, _facts(config[ENTRY]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SkipweaveError(f"damaged file: {path} ({error!r}); install skipweave again") from error
