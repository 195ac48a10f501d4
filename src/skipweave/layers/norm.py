"""Norms by the argument `norm_layer` of networks, with weight and bias or as the normalization of a node."""

from typing import Literal

import torch.nn.functional as F
from timm.layers import GroupNorm, GroupNorm1
from torch import Tensor, nn

from skipweave.ops import normalize_groups_low_memory, normalize_low_memory
from skipweave_config.errors import SkipweaveError

NormName = Literal["batch", "group", "layer"]
NormLayer = str | type[nn.Module]
Norm = nn.BatchNorm2d | nn.GroupNorm

#: Values of `norm_layer` by the name of the norm: also timm's names, and the classes that these stand for.
_KNOWN: dict[NormName, tuple[NormLayer, ...]] = {
    "batch": ("batch", "batchnorm2d", nn.BatchNorm2d),
    "group": ("group", "groupnorm", GroupNorm),
    "layer": ("layer", "groupnorm1", GroupNorm1),
}
_MAX_GROUPS: dict[NormName, int] = {"group": 32, "layer": 1}


def norm_name(norm_layer: NormLayer) -> NormName:
    """Check a value of `norm_layer`; return the name of the norm.

    Raises:
        SkipweaveError: The norm is unknown.

    >>> norm_name("groupnorm1")
    'layer'
    """
    for name, values in _KNOWN.items():
        if norm_layer in values:
            return name
    raise SkipweaveError(f"norm_layer is {norm_layer!r}: expected one of {', '.join(map(repr, _KNOWN))}")


def make_norm(width: int, norm_layer: NormLayer = "batch", *, affine: bool = True) -> Norm:
    """Create a norm of maps with `width` channels.

    Args:
        width: Number of channels.
        norm_layer: `"batch"`, over all images of a batch and positions, per channel; `"group"`, over positions and
            groups of channels of an image (`GroupNorm2d`); `"layer"`, over positions and all channels of an image. Also
            timm's names and classes of these: `batchnorm2d`, `groupnorm`, `groupnorm1`.
        affine: Whether it has a weight and a bias per channel.

    Raises:
        SkipweaveError: The norm is unknown.
    """
    name = norm_name(norm_layer)
    if name == "batch":
        return nn.BatchNorm2d(width, affine=affine)
    return GroupNorm2d(width, _MAX_GROUPS[name], affine=affine)


def make_node_norm(width: int, norm_layer: NormLayer = "batch") -> "NodeNorm | NodeGroupNorm":
    """Create the normalization of a node, once, where it is computed: a norm without weight and bias.

    Readers of the concatenated node have these (`ConcatRead`). A norm per channel, or of the node's own channels,
    commutes with concatenation, so all readers share it.

    Args:
        width: Number of channels.
        norm_layer: As for `make_norm`.
    """
    name = norm_name(norm_layer)
    return NodeNorm(width) if name == "batch" else NodeGroupNorm(width, _MAX_GROUPS[name], affine=False)


class NodeNorm(nn.BatchNorm2d):
    """Batch norm of a node, without affine parameters.

    In training only the node itself is saved for the backward pass, which the node's readers save anyway.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized map (N, width, H, W).

        Raises:
            ValueError: In training, a channel has a single value.
        """
        if self.training or self.running_mean is None:
            return normalize(self, x)
        return F.batch_norm(x, self.running_mean, self.running_var, eps=self.eps)


class GroupNorm2d(nn.GroupNorm):
    """Group norm with a number of groups that follows from the width.

    There are `max_groups` groups, or the largest smaller number that divides the width and leaves at least two channels
    per group: alone, a channel would lose its mean over the image.

    Args:
        width: Number of channels.
        max_groups: Largest number of groups; 1 is layer norm over (C, H, W).
        affine: Whether it has a weight and a bias per channel.

    Shape: (N, width, H, W) to the same.

    >>> [GroupNorm2d(width).num_groups for width in (64, 24, 7)]
    [32, 12, 1]
    """

    def __init__(self, width: int, max_groups: int = 32, *, affine: bool = True) -> None:
        super().__init__(_groups(width, max_groups), width, affine=affine)
        self.max_groups = max_groups

    def set_width(self, width: int) -> None:
        """Change the numbers of channels and groups, but not the parameters."""
        self.num_channels = width
        self.num_groups = _groups(width, self.max_groups)


class NodeGroupNorm(GroupNorm2d):
    """Group norm of a node, without affine parameters, in the data type of the node.

    As with `NodeNorm`, only the node itself is saved in training.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized map (N, width, H, W)."""
        return normalize(self, x)


def normalize(norm: Norm, x: Tensor) -> Tensor:
    """Normalize without weight and bias, as a norm does in training, and save only the result for the backward pass."""
    if isinstance(norm, nn.GroupNorm):
        return normalize_groups_low_memory(x, norm.num_groups, norm.eps)
    momentum = norm.momentum
    if norm.num_batches_tracked is not None and isinstance(x, Tensor):  # torch.fx traces with proxies
        norm.num_batches_tracked.add_(1)
        momentum = 1 / norm.num_batches_tracked.item() if momentum is None else momentum
    return normalize_low_memory(x, norm.running_mean, norm.running_var, momentum or 0.0, norm.eps)


def _groups(width: int, most: int) -> int:
    return max(groups for groups in range(1, min(most, max(1, width // 2)) + 1) if width % groups == 0)
