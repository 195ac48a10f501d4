"""The nn.Modules of which networks consist."""

from skipweave.layers.activation_checkpointing import recompute
from skipweave.layers.aggregation import Aggregation, Concat, ConcatRead, Mean, MeanRead, PostActivation, Sum, SumRead
from skipweave.layers.block_stage import BlockStage
from skipweave.layers.channel_sparse import ChannelSparseConv2d
from skipweave.layers.cross_layer_aggregation import Cross, CrossConv, CrossRead
from skipweave.layers.norm import (
    GroupNorm2d,
    NodeGroupNorm,
    NodeNorm,
    NormLayer,
    NormName,
    make_node_norm,
    make_norm,
    norm_name,
)
from skipweave.layers.raw_seqconv import RawDownsampling, RawSeqConv2d
from skipweave.layers.seqconv import ConvUnit, Dropout, GroupUnit, SeqConv2d, Sides
from skipweave.layers.seqstage import Downsampling, Opening, ResidualBlock, SeqStage
from skipweave.layers.spanning_stages import SpanningStages
from skipweave.layers.stage import Stage
from skipweave.layers.stem_and_head import CifarStem, Head, ImageNetStem, ScaledHead, Stem, WhiteningStem
from skipweave.layers.transition import (
    BlockCompression,
    ConcatTransition,
    DilatedAvgPool,
    NormTransition,
    PooledConv,
    carry_down,
)
from skipweave.layers.unit import (
    Read,
    Unit,
    basic_body,
    bottleneck_body,
    conv1x1,
    conv3x3,
    read_and_run,
    residual_body,
)

__all__ = [
    "Aggregation",
    "BlockCompression",
    "BlockStage",
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
    "Dropout",
    "GroupNorm2d",
    "GroupUnit",
    "Head",
    "ImageNetStem",
    "Mean",
    "MeanRead",
    "NodeGroupNorm",
    "NodeNorm",
    "NormLayer",
    "NormName",
    "NormTransition",
    "Opening",
    "PooledConv",
    "PostActivation",
    "RawDownsampling",
    "RawSeqConv2d",
    "Read",
    "ResidualBlock",
    "ScaledHead",
    "SeqConv2d",
    "SeqStage",
    "Sides",
    "SpanningStages",
    "Stage",
    "Stem",
    "Sum",
    "SumRead",
    "Unit",
    "WhiteningStem",
    "basic_body",
    "bottleneck_body",
    "carry_down",
    "conv1x1",
    "conv3x3",
    "make_node_norm",
    "make_norm",
    "norm_name",
    "read_and_run",
    "recompute",
    "residual_body",
]
