"""Configuration of the dataset."""

import math
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from skipweave_config.fields import (
    FilePath,
    Flag,
    Fraction,
    Integer,
    NonNegativeInteger,
    Number,
    PositiveNumber,
)
from skipweave_config.validation import Config

#: Longest side of an image after resizing, in pixels: larger images do not fit into memory.
MAX_SIDE = 2**14

ImageDataset = Literal["digits", "mnist", "cifar10", "cifar100", "svhn", "imagenet", "folder"]
SegmentationDataset = Literal["camvid", "masks"]
Dataset = Literal[ImageDataset, SegmentationDataset]

IMAGE_NAMES = get_args(ImageDataset)
SEGMENTATION_NAMES = get_args(SegmentationDataset)
NAMES = IMAGE_NAMES + SEGMENTATION_NAMES
DEEP_NAMES = ("folder", "masks")  # datasets whose images may have more than 8 bits per channel

# Fields that apply to some datasets only.
_APPLIES_TO = {
    "download": ("mnist", "cifar10", "cifar100", "svhn"),
    "extra": ("svhn",),
    "crop": SEGMENTATION_NAMES,
    "classes": ("masks",),
    "range": DEEP_NAMES,
    "resize": IMAGE_NAMES,
    "crop_scale": IMAGE_NAMES,
    "shift": IMAGE_NAMES,
    "color": IMAGE_NAMES,
    "auto_augment": IMAGE_NAMES,
    "erasing": IMAGE_NAMES,
    "cutout": IMAGE_NAMES,
}

# Fields of training augmentation.
_AUGMENTATION = ("flip", "crop_scale", "shift", "color", "auto_augment", "erasing", "cutout")

Side = Annotated[Integer, Field(ge=1, le=MAX_SIDE * 7 // 8)]  # photographs are resized to 8/7 of it first


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1]:
        raise ValueError("should be the lowest and the highest value")
    return value


def _not_descending(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] <= value[1]:
        raise ValueError("should be the smallest and the largest fraction")
    return value


def _per_channel(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(values) != 3:
        raise ValueError("should be three numbers, for red, green and blue")
    return values


class DataConfig(Config):
    """A dataset, its splits and how it is loaded.

    Attributes:
        name: Dataset: `digits` (scikit-learn's 8x8 scans, included), `mnist`, `cifar10`, `cifar100`, `svhn`,
            `imagenet`, or `folder` (your own images: ROOT/train/CLASS/*, ROOT/val, ROOT/test, or ROOT/CLASS/* alone).
            For segmentation: `camvid` (ROOT/CamVid/train and trainannot, val and valannot, test and testannot, as
            SegNet's authors distribute it), or `masks` (your own: ROOT/train/images and ROOT/train/masks with files of
            the same names, optionally ROOT/val and ROOT/test; or ROOT/images and ROOT/masks alone).
        root: Directory of the dataset, in the layout that torchvision reads; not used by `digits`.
        download: Download the dataset into `root` if it is not there yet.
        extra: SVHN only: also train on the `extra` images, as papers do.
        augment: Augment training images by the following options. False trains on the images as evaluated.
        flip: Flip half of the training images: `none`, `horizontal`, `vertical`, `both`, or `alternating`, which is
            horizontal for each image in every second epoch. By default horizontal for photographs, CIFAR and
            segmentation, else none.
        crop_scale: Random resized crops of training images: smallest and largest area, as a fraction of the image's. By
            default 0.08,1 for photographs, else no such crops.
        shift: Largest random translation of training images per axis, in pixels. By default 0 for photographs, else an
            eighth of the side (CIFAR: 4 pixels).
        padding: What translations fill in: `zeros`, which is the mean color, or `reflect`.
        color: Jitter of brightness, contrast and saturation, as a fraction. By default 0.4 for ImageNet, where PCA
            lighting of a quarter of it is added, else 0.
        auto_augment: Random color and geometry operations, as in torchvision: `none`, `randaugment` (2 operations of
            magnitude 9) or `trivialaugment`.
        erasing: Probability of erasing a random rectangle of a training image.
        cutout: Side of a random square of each training image set to the mean color, in pixels; 0 for none.
        crop: Segmentation only: side of the random square crop of training images; null for whole images.
        classes: `masks` only: class list, a CSV file with the columns name, value and r,g,b; ROOT/classes.csv by
            default.
        validation: Validation images, taken from the training split class by class: a count, or a fraction below 1;
            0 for none. Not used by datasets with a validation split of their own, such as camvid or ROOT/val.
        split_seed: Seed of the splits that the dataset does not define; keep it fixed to compare models.
        image_size: Side that images are resized to, in pixels; by default the dataset's own, 224 for photographs. For
            segmentation the shorter side, by default unchanged; scores are computed at the masks' own size.
        resize: Shorter side that images are resized to before the center crop of `image_size`, in evaluation. By
            default 8/7 of `image_size` for photographs (256 for 224), else `image_size`.
        range: `folder` and `masks` with 16-bit or floating-point images: the two values that are scaled to 0 and 1,
            such as 963,1133. By default the lowest and highest value of the training images, stored in the run's
            config.yaml.
        mean: Mean per channel on the scale from 0 to 1. By default the dataset's own, ImageNet's for 8-bit `folder` and
            `masks`, and that of the training images for more bits.
        std: Standard deviation per channel, likewise.
        workers: Worker processes that load data; 0 loads in the training process. Results do not depend on it.
        on_bad: `raise` stops at the first unreadable training image; `skip` reads all images once before training and
            leaves unreadable ones out. Evaluation always stops.
    """

    name: Dataset = "digits"
    root: FilePath | None = None
    download: Flag = False
    extra: Flag = False
    augment: Flag = True
    flip: Literal["none", "horizontal", "vertical", "both", "alternating"] | None = None
    crop_scale: Annotated[tuple[Fraction, Fraction], AfterValidator(_not_descending)] | None = None
    shift: NonNegativeInteger | None = None
    padding: Literal["zeros", "reflect"] = "zeros"
    color: Annotated[Number, Field(ge=0, le=1)] | None = None
    auto_augment: Literal["none", "randaugment", "trivialaugment"] = "none"
    erasing: Annotated[Number, Field(ge=0, le=1)] = 0.0
    cutout: NonNegativeInteger = 0
    crop: Side | None = None
    classes: FilePath | None = None
    validation: Integer | Number = 0.1
    split_seed: Integer = 0
    image_size: Side | None = None
    resize: Side | None = None
    range: Annotated[tuple[Number, Number], AfterValidator(_ascending)] | None = None
    mean: Annotated[tuple[Number, ...], AfterValidator(_per_channel)] | None = None
    std: Annotated[tuple[PositiveNumber, ...], AfterValidator(_per_channel)] | None = None
    workers: Annotated[NonNegativeInteger, Field(le=1024)] = 0
    on_bad: Literal["raise", "skip"] = "raise"

    @field_validator("root")
    @classmethod
    def _check_root(cls, root: Any, info: ValidationInfo) -> Any:
        name = info.data.get("name")
        if root is None and name not in ("digits", None):
            raise ValueError(f"should be the directory of dataset {name!r}, or the one to download it to")
        if root is not None and name == "digits":
            raise ValueError("dataset 'digits' has no directory: give data.name, such as folder or masks, or no root")
        return root

    @field_validator(*_APPLIES_TO)
    @classmethod
    def _check_dataset(cls, value: Any, info: ValidationInfo) -> Any:
        names = _APPLIES_TO[str(info.field_name)]
        if value not in (None, False, "none") and (name := info.data.get("name")) and name not in names:
            raise ValueError(f"does not apply to dataset {name!r}, only to {', '.join(names)}: leave it out")
        return value

    @field_validator(*_AUGMENTATION)
    @classmethod
    def _check_augment(cls, value: Any, info: ValidationInfo) -> Any:
        if value not in (None, 0, "none") and info.data.get("augment") is False:
            raise ValueError("does not apply with augment: false")
        return value

    @field_validator("flip")
    @classmethod
    def _check_flip(cls, flip: Any, info: ValidationInfo) -> Any:
        if flip == "alternating" and info.data.get("name") in SEGMENTATION_NAMES:
            raise ValueError("should be none, horizontal, vertical or both for segmentation")
        return flip

    @field_validator("resize")
    @classmethod
    def _check_resize(cls, resize: int | None, info: ValidationInfo) -> int | None:
        side = info.data.get("image_size")
        if resize is not None and side is not None and resize < side:
            raise ValueError(f"should be at least image_size, which is {side}")
        return resize

    @field_validator("validation")
    @classmethod
    def _check_validation(cls, value: float) -> float:
        if not 0 <= value < (1 if isinstance(value, float) else math.inf):
            raise ValueError("should be a number of images (an integer, 0 for none) or a fraction from 0 to below 1")
        return value
