"""Tensor functions: the reference definition of each operation, and fast implementations that must equal it."""

from skipweave.ops.channel_sparse_dispatch import (
    Implementation,
    channel_sparse_conv2d,
    channel_sparse_shared,
    implementation_for,
)
from skipweave.ops.channel_sparse_reference import channel_sparse_dense, dense_weight
from skipweave.ops.concat_buffer import ConcatBuffer
from skipweave.ops.concat_read import concat_read, concat_read_fast, concat_read_low_memory, concatenate
from skipweave.ops.convolution import Geometry, convolve
from skipweave.ops.cross_layer import cross_layer, cross_layer_fast
from skipweave.ops.normalize import normalize_low_memory
from skipweave.ops.normalize_groups import normalize_groups, normalize_groups_low_memory
from skipweave.ops.read_conv import read_conv, read_conv_fast, read_conv_low_memory
from skipweave.ops.spatial import crop, dilated_avg_pool2d

__all__ = [
    "ConcatBuffer",
    "Geometry",
    "Implementation",
    "channel_sparse_conv2d",
    "channel_sparse_dense",
    "channel_sparse_shared",
    "concat_read",
    "concat_read_fast",
    "concat_read_low_memory",
    "concatenate",
    "convolve",
    "crop",
    "cross_layer",
    "cross_layer_fast",
    "dense_weight",
    "dilated_avg_pool2d",
    "implementation_for",
    "normalize_groups",
    "normalize_groups_low_memory",
    "normalize_low_memory",
    "read_conv",
    "read_conv_fast",
    "read_conv_low_memory",
]
