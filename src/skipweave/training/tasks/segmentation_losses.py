"""Losses of segmentation networks with heads at one scale or several (Log-DenseNet).

A head at scale s predicts a mask that was halved s times, rounding up. Its targets are soft: the fraction of each class
in a pixel's window. Labels are class indices; every other value, such as the number of classes, is void.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from skipweave_config.errors import SkipweaveError
from skipweave_config.recipe import LossName


def soft_label_pyramid(labels: Tensor, classes: int, coarsest: int) -> list[Tensor]:
    """The fraction of each class in the windows of a mask, at all scales from 0 to `coarsest`.

    One-hot vectors, zero where void, are 2x2 average-pooled once per scale, rounding sizes up; a window that reaches
    beyond the border averages the pixels that it has.

    Args:
        labels: Class indices (N, H, W).
        classes: Number of classes.
        coarsest: Largest number of halvings.

    Returns:
        For each scale s, float32 (N, classes, ceil(H / 2^s), ceil(W / 2^s)); the sum over classes is the fraction not
        void.
    """
    names = torch.arange(classes, device=labels.device).view(-1, 1, 1)
    scales = [(labels.unsqueeze(1) == names).float()]
    for _ in range(coarsest):
        scales.append(F.avg_pool2d(scales[-1], 2, ceil_mode=True))
    return scales


def soft_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Class-weighted cross-entropy against soft labels, averaged over the pixels that are mostly labeled.

    The mean over pixels with sum_c y_c > 0.5 of -sum_c w_c y_c log softmax_c. It is not divided by the weights' sum, as
    torch's own weighted mean is.

    Args:
        logits: (N, C, H, W), of any floating type; half precision is computed in single.
        targets: Y, (N, C, H, W), as `soft_label_pyramid` returns them.
        weights: W, (C,); None for ones.

    Returns:
        A scalar; 0 if no pixel is labeled.
    """
    logits = _at_least_single(logits)
    losses = F.cross_entropy(logits, targets.to(logits.dtype), _cast(weights, logits), reduction="none")
    return _mean(losses, targets.sum(1) > 0.5)


def soft_focal(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Class-weighted focal loss (Lin et al. 2017, gamma 2) over softmax probabilities p against soft labels.

    The mean over the pixels that are mostly labeled of -sum_c w_c y_c (1 - p_c)^2 log p_c. Arguments and result are
    those of `soft_cross_entropy`.
    """
    log_p = _at_least_single(logits).log_softmax(1)
    losses = -targets.to(log_p.dtype) * (1 - log_p.exp()) ** 2 * log_p
    if weights is not None:
        losses = losses * weights.to(log_p).view(-1, 1, 1)
    return _mean(losses.sum(1), targets.sum(1) > 0.5)


def soft_dice(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Class-weighted Dice loss of softmax probabilities p against soft labels, of all pixels of a batch together.

    The weighted mean over the classes that occur of sum |p_c - y_c| / sum (p_c + y_c), which for hard labels is one
    minus the Dice coefficient 2 sum p_c y_c / sum (p_c + y_c), and for soft ones 0 where p = y. Sums are over the
    pixels that are mostly labeled. Arguments and result are those of `soft_cross_entropy`.

    The loss of a batch is not the mean of the losses of its parts: several processes, and batches of one step
    (`optim.accumulate`), average the losses of theirs.
    """
    valid = targets.sum(1, keepdim=True) > 0.5
    p = _at_least_single(logits).softmax(1) * valid
    y = targets.to(p.dtype) * valid
    dims = (0, 2, 3)
    pixels = y.sum(dims)
    by_class = (p - y).abs().sum(dims) / (p.sum(dims) + pixels).clamp(min=torch.finfo(p.dtype).tiny)
    counted = (pixels > 0).to(p.dtype) if weights is None else (pixels > 0) * weights.to(p)
    return (by_class * counted).sum() / counted.sum().clamp(min=torch.finfo(p.dtype).tiny)


def hard_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """`soft_cross_entropy` at scale 0, computed from the labels without one-hot maps.

    Args:
        logits: (N, C, H, W).
        labels: Class indices (N, H, W).
        weights: (C,); None for ones.

    Returns:
        A scalar; 0 if no pixel is labeled.
    """
    logits = _at_least_single(logits)
    classes = logits.shape[1]
    valid = (labels >= 0) & (labels < classes)
    targets = labels.long().masked_fill(~valid, classes)
    # summed by ourselves: the kernel's own sum differs from run to run on CUDA
    losses = F.cross_entropy(logits, targets, _cast(weights, logits), ignore_index=classes, reduction="none")
    return _mean(losses, valid)


_SOFT_LOSSES = {"cross_entropy": soft_cross_entropy, "dice": soft_dice, "focal": soft_focal}


def deep_loss(
    heads: Sequence[Tensor],
    labels: Tensor,
    head_weights: Sequence[float],
    weights: Tensor | None = None,
    name: LossName = "cross_entropy",
) -> Tensor:
    """The loss of a network with heads at several scales: the weighted sum of their losses.

    Args:
        heads: Logits (N, C, h, w), whose scales follow from their sizes.
        labels: Class indices (N, H, W), at the size of scale 0.
        head_weights: Weight of each head's loss, as of `halves_loss_weights`; heads of weight 0 are not computed.
        weights: Of the classes, (C,); None for ones.
        name: The loss of a head, or the sum of two.

    Returns:
        A scalar.

    Raises:
        SkipweaveError: A head's size is not the labels' size halved some number of times, or there is not one weight
            per head.
    """
    if len(heads) != len(head_weights):
        raise SkipweaveError(f"{len(heads)} heads have {len(head_weights)} loss weights: expected one each")
    counted = [(head, by, scale_of(head, labels)) for head, by in zip(heads, head_weights, strict=True) if by]
    coarsest = max((scale for _, _, scale in counted), default=0)
    soft = coarsest or name != "cross_entropy"
    targets = soft_label_pyramid(labels, heads[0].shape[1], coarsest) if soft else []
    losses = [
        by
        * (
            hard_cross_entropy(head, labels, weights)
            if term == "cross_entropy" and not scale
            else _SOFT_LOSSES[term](head, targets[scale], weights)
        )
        for head, by, scale in counted
        for term in name.split("+")
    ]
    return torch.stack(losses).sum()


def scale_of(head: Tensor, labels: Tensor) -> int:
    """Number of times that a head's logits (N, C, h, w) are halved against labels (N, H, W); the least if several fit.

    Raises:
        SkipweaveError: No number of times, rounding up, leads from one size to the other.
    """
    size, scale = tuple(labels.shape[-2:]), 0
    while size != tuple(head.shape[-2:]):
        if max(size) == 1:
            raise SkipweaveError(
                f"a head of {head.shape[-2]} x {head.shape[-1]} does not fit labels of {labels.shape[-2]} x "
                f"{labels.shape[-1]}: expected that size halved some number of times, rounding up"
            )
        size, scale = (-(-size[0] // 2), -(-size[1] // 2)), scale + 1
    return scale


def predicted_mask(logits: Tensor, size: Sequence[int]) -> Tensor:
    """The most probable class of each pixel of an image.

    Args:
        logits: (N, C, h, w) of any scale; they are interpolated bilinearly where that is not the image's size.
        size: (H, W) of the image.

    Returns:
        Class indices, int64 (N, H, W).
    """
    if tuple(logits.shape[-2:]) != tuple(size):
        logits = F.interpolate(_at_least_single(logits), size=tuple(size), mode="bilinear", align_corners=False)
    return logits.argmax(1)


def _at_least_single(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _cast(weights: Tensor | None, like: Tensor) -> Tensor | None:
    return None if weights is None else weights.to(like)


def _mean(losses: Tensor, valid: Tensor) -> Tensor:
    """Mean over the valid pixels of (N, H, W)."""
    return (losses * valid).sum() / valid.sum().clamp(min=1)
