"""Segmentation datasets: CamVid, and any pair of folders of images and masks."""

from skipweave.data.segmentation.class_frequencies import PixelCounts, count_pixels
from skipweave.data.segmentation.class_list import ClassEntry, ClassList, Color, read_classes
from skipweave.data.segmentation.image_mask_pairs import SegmentationDataset
from skipweave.data.segmentation.joint_transforms import JointEvalTransform, JointTrainTransform
from skipweave.data.segmentation.mask_files import open_mask
from skipweave.data.segmentation.mask_folders import CAMVID
from skipweave.data.segmentation.segmentation_datasets import SegmentationData, load_segmentation

__all__ = [
    "CAMVID",
    "ClassEntry",
    "ClassList",
    "Color",
    "JointEvalTransform",
    "JointTrainTransform",
    "PixelCounts",
    "SegmentationData",
    "SegmentationDataset",
    "count_pixels",
    "load_segmentation",
    "open_mask",
    "read_classes",
]
