"""Images per second of one worker that decodes and augments, and of a training step.

The data path is that of `skipweave fit`, one process, one thread:

- `photographs`: CamVid's images as JPEG files of 500x400, random resized crops of 224x224, flips, normalized.
- `segmentation`: CamVid's PNG pairs, crops of 224x224.
- `CIFAR`: 32x32 in memory, shifts of up to 4 pixels, flips, normalized, a batch at once.

Each is timed as `decode`, `augment` of decoded images, and `loader`, the whole of `epoch_loader`. For CIFAR `per image`
is the loader with torchvision's transforms of each image in place of those of whole batches.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from benchmarks.timing import CPU, RESULTS, in_turns, write
from skipweave import create_model
from skipweave.data import ClassificationData, DataConfig, SegmentationData, epoch_loader, load

STEPS = (("sparsenet_bc100_24", 32, 64), ("sparsenet121_32", 224, 16))
Action = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One part of the data path; `images_per_second` is by processor time on the CPU, by wall time elsewhere."""

    subject: str
    what: str
    device: str
    batch: int
    cpu_ms: float
    wall_ms: float
    images_per_second: float


def photographs(root: Path, folder: Path, count: int) -> DataConfig:
    """Write CamVid's first images as a folder of photographs of two classes."""
    for number, path in enumerate(sorted((root / "CamVid" / "train").glob("*.png"))[:count]):
        place = folder / "train" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.convert("RGB").resize((500, 400)).save(place / f"{number}.jpg", quality=90)
    return DataConfig(name="folder", root=folder, validation=0)


def parts(config: DataConfig, count: int) -> dict[str, Action]:
    """Functions to time on the first training images of a dataset: decode, augment, and the whole loader."""
    data = load(config)
    indices = np.arange(count)
    train = data.train.subset(indices)
    decoded = [train[index] for index in range(count)]

    def loader(samples: Any = train, transform: Any = data.train_transform) -> None:
        for _ in epoch_loader(samples, transform, batch_size=count, seed=0, epoch=0, shuffle=True):
            pass

    return {
        "decode": lambda: [train[index] for index in range(count)],
        "augment": lambda: loader(decoded),
        "loader": loader,
        **({"per image": lambda: loader(transform=per_image(data))} if config.name == "cifar10" else {}),
    }


def per_image(data: ClassificationData | SegmentationData) -> Callable[[Tensor], Tensor]:
    """CIFAR's transform by torchvision, image by image."""
    size = data.preprocessing
    return v2.Compose(
        [
            v2.RandomCrop(size.crop, padding=4),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(size.mean, size.std),
        ]
    )


def training_step(name: str, side: int, batch: int, device: torch.device) -> Action:
    """Forward, cross-entropy and backward of a network; on a GPU in bfloat16 and channels-last."""
    torch.manual_seed(0)
    on_gpu = device.type == "cuda"
    model = create_model(name, num_classes=10).to(device, memory_format=torch.channels_last).train()
    x = torch.randn(batch, 3, side, side, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,), device=device)

    def action() -> None:
        model.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu):
            loss = F.cross_entropy(model(x), labels)
        loss.backward()
        _wait(device)

    return action


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure(
    subject: str, actions: dict[str, Action], batch: int, repeats: int, device: torch.device = CPU
) -> Iterator[Row]:
    """Time functions of a batch in interleaved rounds."""
    for what, times in in_turns(actions, repeats).items():
        each = times.cpu if device.type == "cpu" else times.wall
        yield Row(subject, what, device.type, batch, times.cpu, times.wall, round(1000 * batch / each, 1))


def rows(root: Path, repeats: int, count: int, device: torch.device) -> Iterator[Row]:
    """Time the data path of each dataset, then the training steps."""
    with tempfile.TemporaryDirectory() as folder:
        yield from measure("photographs", parts(photographs(root, Path(folder), count), count), count, repeats)
    camvid = DataConfig(name="camvid", root=root, crop=224)
    yield from measure("segmentation", parts(camvid, count), count, repeats)
    cifar = DataConfig(name="cifar10", root=root, validation=0)
    yield from measure("CIFAR", parts(cifar, 128), 128, repeats)
    for name, side, batch in STEPS:
        size = batch if device.type == "cpu" else 8 * batch
        yield from measure(name, {"step": training_step(name, side, size, device)}, size, repeats, device)


def main() -> None:
    """Time everything, print and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.data_path", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder that holds CamVid/ and cifar-10-batches-py/")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=64, help="batch size of photographs and segmentation")
    parser.add_argument("--device", default="cpu", help="device of the training steps")
    parser.add_argument("--output", type=Path, default=RESULTS / "data_path.csv")
    given = parser.parse_args()
    device = torch.device(given.device)
    made = []
    for row in rows(given.root, given.repeats, given.images, device):
        print(f"{row.subject}, {row.what}, {row.device}: {row.images_per_second:,.0f} images/s", flush=True)
        made.append(row)
    write(given.output, made, device)
    print(f"Written to {given.output}")


if __name__ == "__main__":
    main()
