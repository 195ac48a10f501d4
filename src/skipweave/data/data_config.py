"""Which data to train on, as plain values."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from skipweave.config.typed import take_types
from skipweave.data.loader_workers import workers_problem
from skipweave.data.preprocessing import MOST_PIXELS, Range, range_problem
from skipweave.errors import SkipweaveError

IMAGE_NAMES = ("digits", "mnist", "cifar10", "cifar100", "svhn", "imagenet", "folder")
SEGMENTATION_NAMES = ("camvid", "masks")
DEEP_NAMES = ("folder", "masks")  # sets that may hold images of more than 8 bits a channel
_LARGEST_SIDE = MOST_PIXELS * 7 // 8  # photographs are resized to 8/7 of it first
ON_BAD = ("raise", "skip")
NAMES = IMAGE_NAMES + SEGMENTATION_NAMES


@dataclass(frozen=True)
class DataConfig:
    """A data set, its splits and how it is read.

    Attributes:
        name: `digits` (scikit-learn's 8x8 scans, embedded), `mnist`, `cifar10`, `cifar100`, `svhn`, `imagenet`, or
            `folder` (your own images: ROOT/train/CLASS/*, ROOT/val, ROOT/test, or ROOT/CLASS/* alone). With a label for
            every pixel: `camvid` (ROOT/CamVid/train and trainannot, val and valannot, test and testannot, as SegNet's
            authors distribute it), or `masks` (your own: ROOT/train/images and ROOT/train/masks with files of the same
            names, ROOT/val and ROOT/test alike if you have them; or ROOT/images and ROOT/masks alone).
        root: folder that holds the data set, in the layout torchvision reads; not needed for `digits`.
        download: fetch the data set into `root` if it is not there yet.
        extra: SVHN only: train on its `extra` images too, as papers do.
        augment: change training images at random: shift by up to an eighth of the side (CIFAR: 4 pixels) and, except
            for digits, mirror; large photographs are cropped at random sizes and, for ImageNet, recolored. Images with
            label maps are mirrored.
        crop: label maps only: side of the square cut from each training image at random; null for whole images.
        classes: `masks` only: the class list, a CSV file with the columns name, value and r,g,b; by default
            ROOT/classes.csv.
        validation: images to take from the training split, class by class, for choosing between checkpoints: a
            count, or a fraction below 1; 0 for none. Not used by a set that has its own, as camvid or ROOT/val.
        split_seed: decides every split that the data set does not make itself; keep it to compare networks.
        image_size: side, in pixels, that images are brought to; by default the set's own, 224 for photographs. With
            label maps the shorter side, by default as it is; scores are always those of the labels at their own size.
        range: for `folder` and `masks` of more than 8 bits a channel (16-bit or floating-point images): the two values
            that become 0 and 1, such as 963,1133; values beyond them are scaled alike. By default the lowest and the
            highest value of the training images, which are read once to find them; a run keeps them in its config.yaml.
        mean: for the same: of each channel, once scaled; by default that of the training images, kept likewise.
        std: standard deviation, for the same; by default that of the training images, kept likewise.
        workers: processes that read ahead; 0 reads in the training process. The images are the same for any number.
        on_bad: `raise` stops at a training image that cannot be read; `skip` reads all images once before training, and
            leaves out those. Evaluation always stops.
    """

    name: str = "digits"
    root: Path | None = None
    download: bool = False
    extra: bool = False
    augment: bool = True
    crop: int | None = None
    classes: Path | None = None
    validation: int | float = 0.1
    split_seed: int = 0
    image_size: int | None = None
    range: Range | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    workers: int = 0
    on_bad: str = "raise"

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SkipweaveError: every value of a wrong type, or out of its range.
        """
        take_types(self)
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
        for what, side in (("image_size", self.image_size), ("crop", self.crop)):
            if side is not None and not 1 <= side <= _LARGEST_SIDE:
                problems.append(f"{what} is {side}: expected a side of 1 to {_LARGEST_SIDE} pixels, or null")
        if self.crop is not None and self.name in IMAGE_NAMES:
            problems.append(f"crop is for images with label maps ({', '.join(SEGMENTATION_NAMES)}): leave it out")
        if self.download and self.name in (*SEGMENTATION_NAMES, "folder", "imagenet"):
            problems.append(f"{self.name!r} cannot be downloaded: leave download out, and put the set into root")
        if self.extra and self.name != "svhn":
            problems.append(f"extra is for svhn: {self.name!r} has no extra images")
        if self.classes is not None and self.name != "masks":
            problems.append(f"{self.name!r} has its own classes: leave classes out, or use name masks")
        values = {"range": self.range, "mean": self.mean, "std": self.std}
        if self.name not in DEEP_NAMES and (given := [name for name, value in values.items() if value is not None]):
            problems.append(f"{', '.join(given)} for images of more than 8 bits: those of {self.name!r} have 8")
        if problem := range_problem(self.range):
            problems.append(problem)
        for what, numbers in (("mean", self.mean), ("std", self.std)):
            if numbers is not None and len(numbers) != 3:
                problems.append(f"{what} is {list(numbers)}: expected three numbers, for red, green and blue")
        if self.std is not None and min(self.std, default=1.0) <= 0:
            problems.append(f"std is {list(self.std)}: expected numbers above 0")
        if problem := workers_problem(self.workers):
            problems.append(problem)
        if self.on_bad not in ON_BAD:
            problems.append(f"on_bad is {self.on_bad!r}: expected {' or '.join(ON_BAD)}")
        if problems:
            raise SkipweaveError(*problems)

    def check(self) -> None:
        """Check that a folder that was asked for is read.

        Raises:
            SkipweaveError: root is given for a set that needs none, as where its name was forgotten.
        """
        if self.name == "digits" and self.root is not None:
            raise SkipweaveError(
                f"root is {self.root}, but name is digits, which come with scikit-learn: give the name of the set that "
                f"lies there, such as folder or masks, or leave root out"
            )
