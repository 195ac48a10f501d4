"""Processor time that the recipes of the papers' networks would take on this machine, from a few training steps.

A step is the forward pass, cross-entropy of all heads and the backward pass in bfloat16 on channels-last random images;
no data loading, no optimizer. Batches have at most `--images` images, and their time is scaled to the recipe's.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.timing import RESULTS, in_turns, printed, write
from skipweave import create_model
from skipweave.training import FitConfig
from skipweave_config.config_files import read_values
from skipweave_config.validation import validate

# Training images of a dataset, classes, channels, height and width.
SETS = {
    "cifar10": (50_000, 10, (3, 32, 32)),
    "cifar100": (50_000, 100, (3, 32, 32)),
    "svhn": (73_257 + 531_131, 10, (3, 32, 32)),
    "imagenet": (1_281_167, 1000, (3, 224, 224)),
    "camvid": (367, 11, (3, 360, 480)),
}

OWN = ("fast_cifar", "fast_cifar10", "fast96_cifar10")  # measured: docs/training.md, docs/results/README.md


@dataclass(frozen=True)
class Row:
    """Time of a recipe: of an image in a training step, and of all epochs on one core."""

    recipe: str
    model: str
    images: int
    epochs: int
    cpu_ms_per_image: float
    core_hours: float


def step(config: FitConfig, classes: int, size: tuple[int, int, int], batch: int) -> Callable[[], object]:
    """Build the function to time: a step without optimizer."""
    arguments = {"num_classes": classes, "in_chans": size[0], **config.model.args}
    model: nn.Module = create_model(config.model.name, **arguments).train().to(memory_format=torch.channels_last)
    x = torch.randn(batch, *size).to(memory_format=torch.channels_last)
    labels = torch.randint(0, classes, (batch, *size[1:]) if config.data.name == "camvid" else (batch,))

    def action() -> None:
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made = model(x)
            outputs = made if isinstance(made, list | tuple) else [made]
            loss = sum(F.cross_entropy(output, _resized(labels, output)) for output in outputs)
        loss.backward()

    return action


def _resized(labels: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """Masks (N, H, W) at the resolution of a head's output (N, C, h, w)."""
    if labels.dim() == 1 or labels.shape[-2:] == output.shape[-2:]:
        return labels
    return F.interpolate(labels[:, None].float(), output.shape[-2:]).squeeze(1).long()


def measure(paths: list[Path], most: int, repeats: int) -> Iterator[Row]:
    """Time a step of every recipe of the papers whose dataset is listed above."""
    for path in paths:
        values = read_values(path)
        if values["data"]["name"] not in SETS or path.stem in OWN:
            continue
        config = validate(FitConfig, {**values, "data": {**values["data"], "root": "."}})
        images, classes, size = SETS[config.data.name]
        held_out = config.data.validation  # CamVid has its own split for it
        images -= held_out if isinstance(held_out, int) else 0
        side = config.data.crop or (config.data.image_size if config.data.name == "imagenet" else None)
        size = (size[0], side, side) if side else size
        batch = min(config.batch_size, most)
        spent = in_turns({"step": step(config, classes, size, batch)}, repeats)["step"].cpu / batch
        hours = spent * images * config.epochs / 3_600_000
        yield Row(path.stem, config.model.name, images, config.epochs, round(spent, 1), round(hours, 1))


def main() -> None:
    """Time all, print and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.recipe_hours", description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", type=Path, nargs="+", default=sorted(Path("recipes").glob("*.yaml")))
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS / "recipe_hours.csv")
    given = parser.parse_args()

    def line(row: Row) -> str:
        return f"{row.recipe}: {row.cpu_ms_per_image} ms per image, {row.core_hours:,.0f} hours of one core"

    write(given.output, printed(measure(given.recipes, given.images, given.repeats), line))
    print(f"Written to {given.output}")


if __name__ == "__main__":
    main()
