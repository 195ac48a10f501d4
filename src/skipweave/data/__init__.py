"""Data sets of images, their splits, transforms and exact loading."""

from skipweave.data.config import NAMES, DataConfig
from skipweave.data.files import EXTENSIONS, list_images, open_image
from skipweave.data.images import FileImages, ImageSet, MemoryImages
from skipweave.data.loader import epoch_loader, steps_per_epoch
from skipweave.data.preprocessing import Preprocessing, eval_transform_from
from skipweave.data.seeding import mix_seed
from skipweave.data.sets import ImageData, load

__all__ = [
    "EXTENSIONS",
    "NAMES",
    "DataConfig",
    "FileImages",
    "ImageData",
    "ImageSet",
    "MemoryImages",
    "Preprocessing",
    "epoch_loader",
    "eval_transform_from",
    "list_images",
    "load",
    "mix_seed",
    "open_image",
    "steps_per_epoch",
]
