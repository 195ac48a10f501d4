"""Images with label maps: CamVid, and any pair of folders; read, paired, transformed together and counted."""

from skipweave.data.segmentation.classes import Colour, LabelClasses, Row, read_classes
from skipweave.data.segmentation.folders import CAMVID
from skipweave.data.segmentation.frequencies import ClassPixels, count_pixels
from skipweave.data.segmentation.label_files import open_labels
from skipweave.data.segmentation.pairs import LabelledImages
from skipweave.data.segmentation.sets import SegmentationData, load_segmentation
from skipweave.data.segmentation.transforms import EvalPair, TrainPair

__all__ = [
    "CAMVID",
    "ClassPixels",
    "Colour",
    "EvalPair",
    "LabelClasses",
    "LabelledImages",
    "Row",
    "SegmentationData",
    "TrainPair",
    "count_pixels",
    "load_segmentation",
    "open_labels",
    "read_classes",
]
