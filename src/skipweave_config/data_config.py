"""Configuration of the dataset."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from skipweave_config.fields import (
    FilePath,
    Flag,
    Fraction,
    Integer,
    NonNegativeInteger,
    Number,
    PositiveInteger,
    PositiveNumber,
    Text,
    not_empty,
)
from skipweave_config.validation import Config

#: Longest side of an image after resizing, in pixels: larger images do not fit into memory.
MAX_SIDE = 2**14

ImageDataset = Literal["digits", "mnist", "cifar10", "cifar100", "svhn", "imagenet", "folder", "csv", "hub", "python"]
SegmentationDataset = Literal["camvid", "masks"]
Dataset = Literal[ImageDataset, SegmentationDataset]

IMAGE_NAMES = get_args(ImageDataset)
SEGMENTATION_NAMES = get_args(SegmentationDataset)
NAMES = IMAGE_NAMES + SEGMENTATION_NAMES
DEEP_NAMES = ("folder", "csv", "masks")  # datasets whose images may have more than 8 bits per channel
TABLES = (".csv", ".parquet")  # files with the labels of dataset `csv`

MULTI_LABEL_NAMES = ("csv", "python")  # datasets whose images may have several labels

# Fields that apply to some datasets only.
_APPLIES_TO = {
    "download": ("mnist", "cifar10", "cifar100", "svhn"),
    "extra": ("svhn",),
    "crop": SEGMENTATION_NAMES,
    "scale": SEGMENTATION_NAMES,
    "classes": ("masks",),
    "mask_suffix": ("masks",),
    "labels": ("csv",),
    **dict.fromkeys(("path_column", "label_column", "split_column", "group_column"), ("csv",)),
    "hub": ("hub",),
    "folds": IMAGE_NAMES,
    "sampling": IMAGE_NAMES,
    "range": DEEP_NAMES,
    "resize": IMAGE_NAMES,
    "crop_scale": IMAGE_NAMES,
    "shift": IMAGE_NAMES,
    "padding": IMAGE_NAMES,
    "blur": IMAGE_NAMES,
    "auto_augment": IMAGE_NAMES,
    "erasing": IMAGE_NAMES,
    "cutout": IMAGE_NAMES,
    "window": DEEP_NAMES,
    "channels": ("folder", "csv"),
}

#: Names of datasets in titles; those of a user's own are called by their directory.
_TITLES = {
    "digits": "handwritten digits",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "svhn": "SVHN",
    "imagenet": "ImageNet",
    "camvid": "CamVid",
}

# Fields of training augmentation.
_AUGMENTATION = (
    "flip",
    "crop_scale",
    "shift",
    "padding",
    "color",
    "blur",
    "auto_augment",
    "erasing",
    "cutout",
    "scale",
)

Window = tuple[Number, PositiveNumber] | Literal["file"]
Factor = Annotated[Number, Field(ge=0.1, le=10)]
Side = Annotated[Integer, Field(ge=1, le=MAX_SIDE * 7 // 8)]  # photographs are resized to 8/7 of it first


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1]:
        raise ValueError("should be the lowest and the highest value")
    return value


def _not_descending(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] <= value[1]:
        raise ValueError("should be the smallest and the largest")
    return value


class DataConfig(Config):
    """A dataset, its splits and how it is loaded.

    Attributes:
        name: Dataset: `digits` (scikit-learn's 8x8 scans, included), `mnist`, `cifar10`, `cifar100`, `svhn`,
            `imagenet`, `folder` (your own images: ROOT/train/CLASS/*, ROOT/val, ROOT/test, or ROOT/CLASS/* alone),
            `csv` (your own images and a table of their labels, `data.labels`); `hub` (a dataset of the Hugging Face
            Hub, `data.hub`) or `python` (datasets passed to `skipweave.training.fit`).
            For segmentation: `camvid` (ROOT/CamVid/train and trainannot, val and valannot, test and testannot, as
            SegNet's authors distribute it), or `masks` (your own: ROOT/train/images and ROOT/train/masks with files of
            the same names, optionally ROOT/val and ROOT/test; or ROOT/images and ROOT/masks alone).
        root: Directory of the dataset, in the layout that torchvision reads; not used by `digits`. For `csv`, the
            directory that the paths of the table start from, by default that of the table; for `hub`, the directory
            of downloads, by default that of the `datasets` package.
        labels: `csv` only: the table, a .csv or .parquet file with the columns path, label, and optionally split
            (train, validation or test) and group (images of one group, such as a patient, are in one split). Several
            labels of an image are separated by semicolons, or the table has a column of 0 and 1 per class.
        path_column: `csv` only: name of the column of image files, `path` by default.
        label_column: `csv` only: name of the column of labels, `label` by default.
        split_column: `csv` only: name of the column of splits, `split` by default.
        group_column: `csv` only: name of the column of groups, such as patient; `group` by default.
        hub: `hub` only: name of a dataset of the Hugging Face Hub with images and class labels, such as
            uoft-cs/cifar10, or a directory that the `datasets` package loads.
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
        padding: What translations fill in: `zeros` after normalization, which is the mean color, as in fb.resnet.torch;
            `black`, zeros before normalization; or `reflect`.
        color: Jitter of brightness, contrast and saturation of training images of 8 bits, as a fraction. By default 0.4
            for ImageNet, where PCA lighting of a quarter of it is added, else 0.
        blur: Gaussian blur of training images: smallest and largest standard deviation in pixels, such as 0.1,1. By
            default none.
        auto_augment: Random color and geometry operations, as in torchvision: `none`, `randaugment` (2 operations of
            magnitude 9) or `trivialaugment`.
        erasing: Probability of erasing a random rectangle of a training image.
        cutout: Side of a random square of each training image set to the mean color, in pixels; 0 for none.
        crop: Segmentation only: side of the random square crop of training images; null for whole images.
        scale: Segmentation only, with `crop`: smallest and largest factor, such as 0.5,2, by which training images and
            masks are resized before the crop, uniform between the two. By default none.
        classes: `masks` only: class list, a CSV file with the columns name, value and r,g,b; ROOT/classes.csv by
            default. Entries of one name are one class, so a table of values may merge them. Without a list, masks of 0
            and 255 (or 1) have the classes background and foreground.
        mask_suffix: `masks` only: end of the names of masks, such as `_mask` for a.jpg and a_mask.png.
        validation: Validation images, taken from the training split class by class: a count, or a fraction below 1;
            0 for none. Not used by datasets with a validation split of their own, such as camvid or ROOT/val.
        test: Test images, likewise, before the validation images are taken. Not used by datasets with splits of their
            own, nor with `folds`.
        folds: Cross-validation: number of equal parts, stratified by class, into which the images are divided that are
            not in a split of the dataset's own.
        fold: The part, from 1 to `folds`, that is the test split; if the dataset has a test split of its own, the
            validation split.
        sampling: `balanced` draws every class equally often in training: images of small classes are repeated within an
            epoch, each time augmented differently. By default every image is drawn once per epoch.
        split_seed: Seed of the splits that the dataset does not define; keep it fixed to compare models.
        image_size: Side that images are resized to, in pixels; by default the dataset's own, 224 for photographs. For
            segmentation the shorter side, by default unchanged; scores are computed at the masks' own size.
        resize: Shorter side that images are resized to before the center crop of `image_size`, in evaluation. By
            default 8/7 of `image_size` for photographs (256 for 224), else `image_size`.
        channels: `folder` and `csv`: channels of the images that the model gets: 1 converts color images to gray, 3
            repeats gray ones, and another number is that of the channels of TIFF files. By default 3 for gray and color
            images, so that models accept pretrained weights, and all channels of other images.
        range: `folder`, `csv` and `masks` with 16-bit or floating-point images: the two values that are scaled to 0 and
            1, such as 963,1133. By default the lowest and highest value of the training images, stored in the run's
            config.yaml.
        window: In place of range: center and width of a range outside of which values are clipped, such as 40,400 in CT
            scans; or `file`, the window of the first training image that has one (DICOM).
        mean: Mean per channel on the scale from 0 to 1. By default, for 8-bit images, that of pretrained weights or of
            `start`, or else the dataset's own (ImageNet's for your own images); for more bits that of the training
            images.
        std: Standard deviation per channel, likewise.
        workers: Worker processes that load data; 0 loads in the training process. Results do not depend on it.
        on_bad: `raise` stops at the first unreadable training image; `skip` reads all images once before training and
            leaves unreadable ones out. Evaluation always stops.
    """

    name: Dataset = "digits"
    root: FilePath | None = None
    labels: FilePath | None = None
    path_column: Text | None = None
    label_column: Text | None = None
    split_column: Text | None = None
    group_column: Text | None = None
    hub: Text | None = None
    download: Flag = False
    extra: Flag = False
    augment: Flag = True
    flip: Literal["none", "horizontal", "vertical", "both", "alternating"] | None = None
    crop_scale: Annotated[tuple[Fraction, Fraction], AfterValidator(_not_descending)] | None = None
    shift: NonNegativeInteger | None = None
    padding: Literal["zeros", "black", "reflect"] = "zeros"
    color: Annotated[Number, Field(ge=0, le=1)] | None = None
    blur: Annotated[tuple[PositiveNumber, PositiveNumber], AfterValidator(_not_descending)] | None = None
    auto_augment: Literal["none", "randaugment", "trivialaugment"] = "none"
    erasing: Annotated[Number, Field(ge=0, le=1)] = 0.0
    cutout: NonNegativeInteger = 0
    crop: Side | None = None
    scale: Annotated[tuple[Factor, Factor], AfterValidator(_not_descending)] | None = None
    classes: FilePath | None = None
    mask_suffix: Text = ""
    validation: Integer | Number = 0.1
    test: Integer | Number = 0.2
    folds: Annotated[Integer, Field(ge=2, le=1000)] | None = None
    fold: PositiveInteger | None = None
    sampling: Literal["balanced"] | None = None
    split_seed: Integer = 0
    image_size: Side | None = None
    resize: Side | None = None
    channels: Annotated[Integer, Field(ge=1, le=1024)] | None = None
    range: Annotated[tuple[Number, Number], AfterValidator(_ascending)] | None = None
    window: Window | None = None
    mean: Annotated[tuple[Number, ...], AfterValidator(not_empty)] | None = None
    std: Annotated[tuple[PositiveNumber, ...], AfterValidator(not_empty)] | None = None
    workers: Annotated[NonNegativeInteger, Field(le=1024)] = 0
    on_bad: Literal["raise", "skip"] = "raise"

    @property
    def title(self) -> str:
        """Name of the dataset in titles: its own, its repository's, or that of the directory of a user's dataset."""
        place = self.root or (self.labels and self.labels.parent)
        return _TITLES.get(self.name) or self.hub or (place and place.resolve().name) or self.name

    @field_validator("root")
    @classmethod
    def _check_root(cls, root: Any, info: ValidationInfo) -> Any:
        name = info.data.get("name")
        if root is None and name not in ("digits", "csv", "hub", "python", None):
            raise ValueError(f"should be the directory of dataset {name!r}, or the one to download it to")
        if root is not None and name in ("digits", "python"):
            raise ValueError(f"dataset {name!r} has no directory: give data.name, such as folder or masks, or no root")
        return root

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: Path | None, info: ValidationInfo) -> Path | None:
        if info.data.get("name") == "csv" and (labels is None or labels.suffix.lower() not in TABLES):
            raise ValueError(f"should be the table of labels, a file that ends in {' or '.join(TABLES)}")
        return labels

    @field_validator("hub")
    @classmethod
    def _check_hub(cls, hub: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("name") == "hub" and not hub:
            raise ValueError("should be the name of a dataset of the Hugging Face Hub, such as uoft-cs/cifar10")
        return hub

    @field_validator("window")
    @classmethod
    def _check_window(cls, window: Any, info: ValidationInfo) -> Any:
        if window is not None and info.data.get("range"):
            raise ValueError("should be left out with range")
        return window

    @field_validator("mean", "std")
    @classmethod
    def _check_channels(cls, values: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        channels = info.data.get("channels")
        if values and channels and len(values) != channels:
            raise ValueError(f"should be one number per channel, of which channels has {channels}")
        return values

    @field_validator("fold")
    @classmethod
    def _check_fold(cls, fold: int | None, info: ValidationInfo) -> int | None:
        folds = info.data.get("folds")
        if "folds" in info.data and (fold is None) != (folds is None):
            raise ValueError(f"should be 1 to {folds}, the number of folds" if folds else "needs folds, their number")
        if fold and folds and fold > folds:
            raise ValueError(f"should be at most folds, which is {folds}")
        return fold

    @field_validator(*_APPLIES_TO)
    @classmethod
    def _check_dataset(cls, value: Any, info: ValidationInfo) -> Any:
        names = _APPLIES_TO[str(info.field_name)]
        if value not in (None, False, "", "none", "zeros") and (name := info.data.get("name")) and name not in names:
            raise ValueError(f"does not apply to dataset {name!r}, only to {', '.join(names)}: leave it out")
        return value

    @field_validator(*_AUGMENTATION)
    @classmethod
    def _check_augment(cls, value: Any, info: ValidationInfo) -> Any:
        if value not in (None, 0, "none", "zeros") and info.data.get("augment") is False:
            raise ValueError("does not apply with augment: false")
        return value

    @field_validator("scale")
    @classmethod
    def _check_scale(cls, scale: Any, info: ValidationInfo) -> Any:
        if scale is not None and info.data.get("crop", 0) is None:
            raise ValueError("needs crop, so that all images of a batch have one size")
        return scale

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

    @field_validator("validation", "test")
    @classmethod
    def _check_held_out(cls, value: float) -> float:
        if not 0 <= value < (1 if isinstance(value, float) else math.inf):
            raise ValueError("should be a number of images (an integer, 0 for none) or a fraction from 0 to below 1")
        return value


def tasks_of(name: str) -> tuple[str, ...]:
    """The tasks that a dataset may be for, as far as its name determines them.

    >>> tasks_of("digits")
    ('classification',)
    """
    if name in SEGMENTATION_NAMES:
        return ("segmentation",)
    return ("classification", "multi-label") if name in MULTI_LABEL_NAMES else ("classification",)
