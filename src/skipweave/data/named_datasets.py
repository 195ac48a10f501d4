"""Named classification datasets in their own splits, loaded by torchvision where it supports them."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets as torchvision_datasets

from skipweave.data.class_folders import read_folder
from skipweave.data.hub_datasets import read_hub
from skipweave.data.image_datasets import DatasetSplits, FileDataset, MemoryDataset
from skipweave.data.label_tables.table_dataset import read_csv
from skipweave.data.python_datasets import from_python
from skipweave_config.data_config import DataConfig
from skipweave_config.errors import SkipweaveError

_DIGITS = tuple(str(digit) for digit in range(10))
_LAYOUTS = {
    "mnist": "MNIST/raw/train-images-idx3-ubyte and the three other files",
    "cifar10": "cifar-10-batches-py/",
    "cifar100": "cifar-100-python/",
    "svhn": "train_32x32.mat and test_32x32.mat, and extra_32x32.mat for extra=true",
    "imagenet": "ILSVRC2012_devkit_t12.tar.gz with train/ and val/, or with the archives of both",
}


def read(config: DataConfig, datasets: Mapping[str, Any] | None = None) -> DatasetSplits:
    """Load the dataset of a config.

    Args:
        config: The config.
        datasets: Datasets by split, for a config of the name `python`.

    Returns:
        Its classes and its own splits. ImageNet's validation images, on which papers report, are the test split.

    Raises:
        SkipweaveError: The dataset is missing or damaged, or datasets and config do not fit.
    """
    if (datasets is None) == (config.name == "python"):
        raise SkipweaveError(
            f"data.name is {config.name}, {'without' if datasets is None else 'with'} datasets: expected `python` and "
            f"datasets together, as skipweave.training.fit(config, datasets=...) takes them"
        )
    if datasets is not None:
        return from_python(datasets)
    return _READERS[config.name](config)


def _digits(config: DataConfig) -> DatasetSplits:
    from sklearn.datasets import load_digits  # slow to import

    scans = load_digits()
    pixels = torch.from_numpy(np.round(scans.images * (255 / 16)).astype(np.uint8))  # 17 gray levels
    images = MemoryDataset(pixels.unsqueeze(1), scans.target)
    return DatasetSplits(_DIGITS, images, divided=False)


def _mnist(config: DataConfig) -> DatasetSplits:
    def part(train: bool) -> MemoryDataset:
        source = _open(torchvision_datasets.MNIST, config, train=train)
        return MemoryDataset(source.data.unsqueeze(1), source.targets.numpy())

    return DatasetSplits(_DIGITS, part(train=True), test=part(train=False))


def _cifar(config: DataConfig) -> DatasetSplits:
    reader = torchvision_datasets.CIFAR10 if config.name == "cifar10" else torchvision_datasets.CIFAR100
    train, test = (_open(reader, config, train=train) for train in (True, False))
    parts = [MemoryDataset(_channels_first(part.data), part.targets) for part in (train, test)]
    return DatasetSplits(tuple(train.classes), parts[0], test=parts[1])


def _svhn(config: DataConfig) -> DatasetSplits:
    def part(names: Iterable[str]) -> MemoryDataset:
        sources = [_open(torchvision_datasets.SVHN, config, split=name) for name in names]
        images = torch.from_numpy(np.concatenate([source.data for source in sources]))
        return MemoryDataset(images, np.concatenate([source.labels for source in sources]))

    return DatasetSplits(_DIGITS, part(["train", "extra"] if config.extra else ["train"]), test=part(["test"]))


def _imagenet(config: DataConfig) -> DatasetSplits:
    train, test = (_open(torchvision_datasets.ImageNet, config, split=split) for split in ("train", "val"))
    parts = [FileDataset([path for path, _ in source.samples], source.targets, in_chans=3) for source in (train, test)]
    return DatasetSplits(tuple(", ".join(names) for names in train.classes), parts[0], test=parts[1])


_READERS: dict[str, Callable[[DataConfig], DatasetSplits]] = {
    "digits": _digits,
    "mnist": _mnist,
    "cifar10": _cifar,
    "cifar100": _cifar,
    "svhn": _svhn,
    "imagenet": _imagenet,
    "folder": read_folder,
    "csv": read_csv,
    "hub": lambda config: from_python(read_hub(config)),
}


def _open(reader: Callable[..., Any], config: DataConfig, **options: object) -> Any:
    """Open a torchvision dataset at the configured root; any failure becomes a SkipweaveError."""
    root = Path(config.root or "").expanduser()
    if config.name != "imagenet":  # torchvision cannot download ImageNet
        options["download"] = config.download
    try:
        return reader(root, **options)
    except Exception as error:  # damaged pickles and archives raise nearly anything
        reason = str(error).splitlines()[0].partition(". ")[0] if str(error) else type(error).__name__
        raise SkipweaveError(
            f"cannot load dataset {config.name!r} from {root} ({reason}): "
            f"expected {_LAYOUTS[config.name]} in it; {_advice(config)}"
        ) from error


def _advice(config: DataConfig) -> str:
    if config.name == "imagenet":
        return "download it from image-net.org; for a copy extracted to train/CLASS/* and val/CLASS/* use name=folder"
    if config.download:
        return "the download failed: try again, or download it manually"
    return "set root to the folder that holds it, or download=true"


def _channels_first(images: Any) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
