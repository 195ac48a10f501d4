"""Which images with label maps to train on, as plain values."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from skipweave.errors import SkipweaveError

SEGMENTATION_NAMES = ("camvid", "masks")


@dataclass(frozen=True)
class SegmentationConfig:
    """A set of images with label maps, its splits and how it is read.

    The defaults are phase 1 of Log-DenseNet's recipe, random crops of 224 and mirroring; phase 2 is `crop` null.

    Attributes:
        name: `camvid` (ROOT/CamVid/train and trainannot, val and valannot, test and testannot, as SegNet's authors
            distribute it), or `masks` (your own images: ROOT/train/images and ROOT/train/masks with files of the same
            names, ROOT/val and ROOT/test alike if you have them; or ROOT/images and ROOT/masks alone).
        root: folder that holds the set.
        classes: `masks` only: the class list, a CSV file with the columns name, value and r,g,b; by default
            ROOT/classes.csv.
        image_size: what the shorter side of images is brought to, in pixels; by default they keep their size. Training
            labels follow; scores are always those of the labels as they are.
        crop: side of the square cut from each training image at random; null for whole images.
        flip: mirror half of the training images.
        normalise: subtract the mean and divide by the standard deviation of each channel, as Log-DenseNet's released
            code does; its paper says that nothing is done, so false only scales to [0, 1].
        validation: `masks` only, unless there is a ROOT/val: images to take from the training split for choosing
            between checkpoints: a count, or a fraction below 1; 0 for none.
        split_seed: decides every split that the set does not make itself; keep it to compare networks.
        workers: processes that read ahead; 0 reads in the training process. The images are the same for any number.
    """

    name: str = "camvid"
    root: Path | None = None
    classes: Path | None = None
    image_size: int | None = None
    crop: int | None = 224
    flip: bool = True
    normalise: bool = True
    validation: int | float = 0.1
    split_seed: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SkipweaveError: one line that lists every wrong value.
        """
        problems = []
        if self.name not in SEGMENTATION_NAMES:
            near = difflib.get_close_matches(self.name.lower(), SEGMENTATION_NAMES, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}? " if near else ""
            valid = ", ".join(SEGMENTATION_NAMES)
            problems.append(f"unknown set of label maps {self.name!r}: {hint}valid names: {valid}")
        if self.root is None:
            problems.append(f"{self.name!r} needs root: the folder that holds it")
        if self.classes is not None and self.name == "camvid":
            problems.append("camvid has its own classes: leave classes out, or use name=masks")
        for what, side in (("image_size", self.image_size), ("crop", self.crop)):
            if side is not None and side < 1:
                problems.append(f"{what} is {side}: expected a side of at least 1 pixel, or null")
        if not 0 <= self.validation < (1 if isinstance(self.validation, float) else float("inf")):
            problems.append(
                f"validation is {self.validation}: expected a count of images (an integer, 0 for none) "
                f"or a fraction at least 0 and below 1"
            )
        if self.workers < 0:
            problems.append(f"workers is {self.workers}: expected 0 or more processes")
        if problems:
            raise SkipweaveError("; ".join(problems))
