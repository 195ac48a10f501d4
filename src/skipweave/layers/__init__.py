"""The nn.Modules that networks are put together from."""

from skipweave.layers.aggregation import Aggregation, Concat, ConcatRead, Sum, SumRead
from skipweave.layers.channel_sparse import ChannelSparseConv2d
from skipweave.layers.checkpoint import recompute
from skipweave.layers.compiling import compile_units
from skipweave.layers.cross import Cross, CrossConv, CrossRead
from skipweave.layers.head import Head
from skipweave.layers.lean import Read, read_and_run
from skipweave.layers.memory_format import FORMATS, MemoryFormat, best_memory_format
from skipweave.layers.normalise import NodeNorm
from skipweave.layers.pool import SeparableMaxPool
from skipweave.layers.readers import Reader, readers
from skipweave.layers.seqconv import ConvUnit, GroupUnit, RawSeqConv2d, SeqConv2d
from skipweave.layers.seqstage import Downsampling, Opening, ResidualBlock, SeqStage
from skipweave.layers.spanning import SpanningStages
from skipweave.layers.stage import Stage
from skipweave.layers.stem import CifarStem, ImageNetStem
from skipweave.layers.transition import (
    BlockCompression,
    ConcatTransition,
    DilatedAvgPool,
    NormTransition,
    carry_down,
)
from skipweave.layers.unit import Unit, basic_body, bottleneck_body, conv1x1, conv3x3, residual_body

__all__ = [
    "FORMATS",
    "Aggregation",
    "BlockCompression",
    "ChannelSparseConv2d",
    "CifarStem",
    "Concat",
    "ConcatRead",
    "ConcatTransition",
    "ConvUnit",
    "Cross",
    "CrossConv",
    "CrossRead",
    "DilatedAvgPool",
    "Downsampling",
    "GroupUnit",
    "Head",
    "ImageNetStem",
    "MemoryFormat",
    "NodeNorm",
    "NormTransition",
    "Opening",
    "RawSeqConv2d",
    "Read",
    "Reader",
    "ResidualBlock",
    "SeparableMaxPool",
    "SeqConv2d",
    "SeqStage",
    "SpanningStages",
    "Stage",
    "Sum",
    "SumRead",
    "Unit",
    "basic_body",
    "best_memory_format",
    "bottleneck_body",
    "carry_down",
    "compile_units",
    "conv1x1",
    "conv3x3",
    "read_and_run",
    "readers",
    "recompute",
    "residual_body",
]
