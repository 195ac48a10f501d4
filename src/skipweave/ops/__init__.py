"""Tensor functions: the readable definition of each hot operation, and fast forms that must equal it."""

from skipweave.ops.aggregate import concat_read, join, shifted_mean, sum_nodes
from skipweave.ops.channel_sparse import Form, channel_sparse_conv2d, channel_sparse_shared, form_for
from skipweave.ops.channel_sparse_dense import channel_sparse_dense, dense_weight
from skipweave.ops.confusion import class_iou, confusion, global_accuracy, mean_iou
from skipweave.ops.crop import crop
from skipweave.ops.cross import cross_layer, cross_layer_fast
from skipweave.ops.growing import GrowingMap
from skipweave.ops.normalise import normalise_lean
from skipweave.ops.read import concat_read_fast, concat_read_lean
from skipweave.ops.read_conv import Geometry, read_conv, read_conv_fast, read_conv_lean
from skipweave.ops.segmentation import (
    deep_cross_entropy,
    hard_cross_entropy,
    label_map,
    scale_of,
    soft_cross_entropy,
    soft_label_pyramid,
    soft_labels,
)
from skipweave.ops.supervision import head_shares, sieve_shares

__all__ = [
    "Form",
    "Geometry",
    "GrowingMap",
    "channel_sparse_conv2d",
    "channel_sparse_dense",
    "channel_sparse_shared",
    "class_iou",
    "concat_read",
    "concat_read_fast",
    "concat_read_lean",
    "confusion",
    "crop",
    "cross_layer",
    "cross_layer_fast",
    "deep_cross_entropy",
    "dense_weight",
    "form_for",
    "global_accuracy",
    "hard_cross_entropy",
    "head_shares",
    "join",
    "label_map",
    "mean_iou",
    "normalise_lean",
    "read_conv",
    "read_conv_fast",
    "read_conv_lean",
    "scale_of",
    "shifted_mean",
    "sieve_shares",
    "soft_cross_entropy",
    "soft_label_pyramid",
    "soft_labels",
    "sum_nodes",
]
