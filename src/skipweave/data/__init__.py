"""Image datasets: splits, transforms, checks and reproducible loading."""

from skipweave_config.extras import require_extra

require_extra("train")

from skipweave.data.datasets import ClassificationData, check_classes, load, renormalize, with_normalization
from skipweave.data.epoch_loader import batch_indices, epoch_loader, evaluated_indices, steps_per_epoch
from skipweave.data.image_datasets import FileDataset, ImageDataset, MemoryDataset
from skipweave.data.images.decoding import open_image, read_header
from skipweave.data.images.image_files import list_images
from skipweave.data.loader_workers import workers_warning
from skipweave.data.preprocessing import Preprocessing
from skipweave.data.seeding import mix_seed
from skipweave.data.segmentation import (
    PixelCounts,
    SegmentationData,
    SegmentationDataset,
    count_pixels,
    load_segmentation,
)
from skipweave.data.validation.check_dataset import DataReport, check_dataset
from skipweave.data.validation.findings import Finding
from skipweave.data.validation.unreadable_images import Unreadable, check_readable, exclude, find_unreadable
from skipweave_config.data_config import DataConfig

__all__ = [
    "ClassificationData",
    "DataConfig",
    "DataReport",
    "FileDataset",
    "Finding",
    "ImageDataset",
    "MemoryDataset",
    "PixelCounts",
    "Preprocessing",
    "SegmentationData",
    "SegmentationDataset",
    "Unreadable",
    "batch_indices",
    "check_classes",
    "check_dataset",
    "check_readable",
    "count_pixels",
    "epoch_loader",
    "evaluated_indices",
    "exclude",
    "find_unreadable",
    "list_images",
    "load",
    "load_segmentation",
    "mix_seed",
    "open_image",
    "read_header",
    "renormalize",
    "steps_per_epoch",
    "with_normalization",
    "workers_warning",
]
