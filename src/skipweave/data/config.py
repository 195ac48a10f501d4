"""Which data to train on, as plain values."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from skipweave.errors import SkipweaveError

NAMES = ("digits", "mnist", "cifar10", "cifar100", "svhn", "imagenet", "folder")


@dataclass(frozen=True)
class DataConfig:
    """A data set, its splits and how it is read.

    Attributes:
        name: `digits` (scikit-learn's 8x8 scans, embedded), `mnist`, `cifar10`, `cifar100`, `svhn`, `imagenet`, or
            `folder` (your own images: ROOT/train/CLASS/*, ROOT/val, ROOT/test, or ROOT/CLASS/* alone).
        root: folder that holds the data set, in the layout torchvision reads; not needed for `digits`.
        download: fetch the data set into `root` if it is not there yet.
        extra: SVHN only: train on its `extra` images too, as papers do.
        augment: change training images at random: shift by up to an eighth of the side (CIFAR: 4 pixels) and, except
            for digits, mirror; large photographs are cropped at random sizes and, for ImageNet, recoloured.
        validation: images to take from the training split, class by class, for choosing between checkpoints: a
            count, or a fraction below 1; 0 for none. Not used by a folder that has its own ROOT/val.
        split_seed: decides every split that the data set does not make itself; keep it to compare networks.
        image_size: side, in pixels, that images are brought to; by default the set's own, 224 for photographs.
        workers: processes that read ahead; 0 reads in the training process. The images are the same for any number.
    """

    name: str = "digits"
    root: Path | None = None
    download: bool = False
    extra: bool = False
    augment: bool = True
    validation: int | float = 0.1
    split_seed: int = 0
    image_size: int | None = None
    workers: int = 0

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SkipweaveError: one line that lists every wrong value.
        """
        problems = []
        if self.name not in NAMES:
            near = difflib.get_close_matches(self.name.lower(), NAMES, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}? " if near else ""
            problems.append(f"unknown data set {self.name!r}: {hint}valid names: {', '.join(NAMES)}")
        if self.name in NAMES and self.name != "digits" and self.root is None:
            problems.append(f"data set {self.name!r} needs root: the folder that holds it, or to download it to")
        if not 0 <= self.validation < (1 if isinstance(self.validation, float) else float("inf")):
            problems.append(
                f"validation is {self.validation}: expected a count of images (an integer, 0 for none) "
                f"or a fraction at least 0 and below 1"
            )
        if self.image_size is not None and self.image_size < 1:
            problems.append(f"image_size is {self.image_size}: expected a side of at least 1 pixel")
        if self.workers < 0:
            problems.append(f"workers is {self.workers}: expected 0 or more processes")
        if problems:
            raise SkipweaveError("; ".join(problems))
