"""Images with label maps: CamVid, and any pair of folders; read, paired, transformed together and counted."""

from skipweave.data.segmentation.class_frequencies import ClassPixels, count_pixels
from skipweave.data.segmentation.class_list import Color, LabelClasses, Row, read_classes
from skipweave.data.segmentation.image_mask_pairs import SegmentationImages
from skipweave.data.segmentation.joint_transforms import EvalPair, TrainPair
from skipweave.data.segmentation.mask_files import open_labels
from skipweave.data.segmentation.mask_folders import CAMVID
from skipweave.data.segmentation.segmentation_datasets import SegmentationData, load_segmentation

__all__ = [
    "CAMVID",
    "ClassPixels",
    "Color",
    "EvalPair",
    "LabelClasses",
    "Row",
    "SegmentationData",
    "SegmentationImages",
    "TrainPair",
    "count_pixels",
    "load_segmentation",
    "open_labels",
    "read_classes",
]
