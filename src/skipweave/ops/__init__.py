"""Tensor functions: the readable definition of each hot operation, and fast forms that must equal it."""

from skipweave.ops.aggregate import concat_read, join, shifted_mean, sum_nodes
from skipweave.ops.channel_sparse import Form, channel_sparse_conv2d, channel_sparse_shared, form_for
from skipweave.ops.channel_sparse_reference import channel_sparse_dense, dense_weight
from skipweave.ops.crop import crop
from skipweave.ops.cross_layer import cross_layer, cross_layer_fast
from skipweave.ops.growing import GrowingMap
from skipweave.ops.normalize import normalize_lean
from skipweave.ops.read import concat_read_fast, concat_read_lean
from skipweave.ops.read_conv import Geometry, read_conv, read_conv_fast, read_conv_lean

__all__ = [
    "Form",
    "Geometry",
    "GrowingMap",
    "channel_sparse_conv2d",
    "channel_sparse_dense",
    "channel_sparse_shared",
    "concat_read",
    "concat_read_fast",
    "concat_read_lean",
    "crop",
    "cross_layer",
    "cross_layer_fast",
    "dense_weight",
    "form_for",
    "join",
    "normalize_lean",
    "read_conv",
    "read_conv_fast",
    "read_conv_lean",
    "shifted_mean",
    "sum_nodes",
]
