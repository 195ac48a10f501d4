"""Data sets of images, their splits, transforms and exact loading."""

from skipweave.data.datasets import ImageData, as_loaded, check_classes, load
from skipweave.data.epoch_loader import batch_indices, epoch_loader, steps_per_epoch
from skipweave.data.image_sets import FileImages, ImageSet, MemoryImages
from skipweave.data.images.decoding import open_alike, open_image, read_head
from skipweave.data.images.image_files import EXTENSIONS, list_images
from skipweave.data.loader_workers import check_workers, workers_note
from skipweave.data.preprocessing import Preprocessing, eval_transform_from
from skipweave.data.seeding import mix_seed
from skipweave.data.segmentation import (
    ClassPixels,
    Color,
    SegmentationData,
    SegmentationImages,
    count_pixels,
    load_segmentation,
)
from skipweave.data.segmentation.whole_image import WholeImage, whole_image_from
from skipweave.data.validation.check_dataset import DataReport, check
from skipweave.data.validation.findings import Finding
from skipweave.data.validation.unreadable_images import Unreadable, find_unreadable, refuse_unreadable, without
from skipweave_config.data_config import NAMES, SEGMENTATION_NAMES, DataConfig

__all__ = [
    "EXTENSIONS",
    "NAMES",
    "SEGMENTATION_NAMES",
    "ClassPixels",
    "Color",
    "DataConfig",
    "DataReport",
    "FileImages",
    "Finding",
    "ImageData",
    "ImageSet",
    "MemoryImages",
    "Preprocessing",
    "SegmentationData",
    "SegmentationImages",
    "Unreadable",
    "WholeImage",
    "as_loaded",
    "batch_indices",
    "check",
    "check_classes",
    "check_workers",
    "count_pixels",
    "epoch_loader",
    "eval_transform_from",
    "find_unreadable",
    "list_images",
    "load",
    "load_segmentation",
    "mix_seed",
    "open_alike",
    "open_image",
    "read_head",
    "refuse_unreadable",
    "steps_per_epoch",
    "whole_image_from",
    "without",
    "workers_note",
]
