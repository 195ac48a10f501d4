"""Segmentation datasets: CamVid, and any pair of folders of images and masks."""

from skipweave.data.segmentation.class_frequencies import PixelCounts, count_pixels
from skipweave.data.segmentation.class_list import Color
from skipweave.data.segmentation.image_mask_pairs import SegmentationDataset
from skipweave.data.segmentation.segmentation_datasets import SegmentationData, load_segmentation

__all__ = ["Color", "PixelCounts", "SegmentationData", "SegmentationDataset", "count_pixels", "load_segmentation"]
