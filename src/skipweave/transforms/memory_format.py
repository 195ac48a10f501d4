"""Memory formats of networks."""

from typing import Literal

import torch
from torch import nn

from skipweave.layers.channel_sparse import ChannelSparseConv2d

MemoryFormat = Literal["contiguous", "channels_last"]

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def best_memory_format(network: nn.Module) -> MemoryFormat:
    """The memory format in which a network's convolutions are fastest, on CPUs and GPUs.

    Returns:
        `channels_last`, or `contiguous` for networks with channel-sparse convolutions, which gather single channels.
    """
    gathers = any(isinstance(part, ChannelSparseConv2d) for part in network.modules())
    return "contiguous" if gathers else "channels_last"
