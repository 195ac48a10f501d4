"""Stems and the classifier head: the layers before the first and after the last stage."""

from collections.abc import Iterable

import torch
from timm.layers import SelectAdaptivePool2d
from torch import Tensor, nn
from torch.nn import functional

from skipweave.layers.norm import NormLayer, make_norm
from skipweave.layers.unit import conv3x3
from skipweave_config.errors import SkipweaveError

_KINDS = ("avg", "max", "avgmax", "catavgmax")
#: timm's names of the pooling of a `Head`.
POOLINGS = (*_KINDS, "fast", *(f"fast{kind}" for kind in _KINDS), "")

_SCALE = 64.0  # of the logits of `ScaledHead`


class Stem(nn.Module):
    """Base class of stems, (N, in_chans, H, W) to (N, width, H / stride, W / stride).

    Args:
        in_chans: Number of image channels.
        width: Number of output channels.
        stride: Stride with respect to the image.
    """

    def __init__(self, in_chans: int, width: int, stride: int) -> None:
        super().__init__()
        self.in_chans = in_chans
        self.width = width
        self.stride = stride


class CifarStem(Stem):
    """3x3 convolution with stride 1, without normalization and activation."""

    def __init__(self, in_chans: int, width: int) -> None:
        super().__init__(in_chans, width, stride=1)
        self.conv = conv3x3(in_chans, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved image."""
        return self.conv(x)


class ImageNetStem(Stem):
    """7x7 stride-2 convolution, BN, ReLU.

    The 3x3 stride-2 max pool that follows is part of the first stage's entry, so that a feature map of stride 2 exists.
    """

    def __init__(self, in_chans: int, width: int, norm_layer: NormLayer = "batch") -> None:
        super().__init__(in_chans, width, stride=2)
        self.conv = nn.Conv2d(in_chans, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.norm = make_norm(width, norm_layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        return self.norm(self.conv(x)).relu()


class WhiteningStem(Stem):
    """2x2 convolution without padding whose output channels are uncorrelated, then GELU (Page 2019, Jordan 2024).

    The filters are the eigenvectors of the covariance of 2x2 patches, each divided by the square root of its
    eigenvalue, and their negatives. They are not trained, but set by `whiten`; before, they are those of uncorrelated
    patches of variance 1, single pixels. The bias is trained.

    Args:
        in_chans: Number of image channels.
        width: Number of output channels; all filters and their negatives are 8 * in_chans, the default. Fewer are those
            of largest variance, more repeat them.

    Shape: (N, in_chans, H, W) to (N, width, H - 1, W - 1).
    """

    _SIDE = 2

    def __init__(self, in_chans: int, width: int | None = None) -> None:
        values = in_chans * self._SIDE**2
        width = 2 * values if width is None else width
        super().__init__(in_chans, width, stride=1)
        self.conv = nn.Conv2d(in_chans, width, self._SIDE)
        self.conv.weight.requires_grad_(False)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        self._set_filters(torch.eye(values))

    def forward(self, x: Tensor) -> Tensor:
        """Return the whitened, activated patches."""
        return functional.gelu(self.conv(x))

    @torch.no_grad()
    def whiten(self, batches: Iterable[Tensor], eps: float = 5e-4) -> None:
        """Set the filters by the covariance of all patches of images.

        Args:
            batches: Normalized images, (N, in_chans, H, W) each.
            eps: Added to the eigenvalues, which bounds the amplification of noise.

        Raises:
            SkipweaveError: There are no images.
        """
        values = self.conv.weight[0].numel()
        count, sums = 0, torch.zeros(values, dtype=torch.float64)
        products = torch.zeros(values, values, dtype=torch.float64)
        for images in batches:
            patches = functional.unfold(images.double().cpu(), self._SIDE).transpose(0, 1).flatten(1)
            count += patches.shape[1]
            sums += patches.sum(1)
            products += patches @ patches.T
        if not count:
            raise SkipweaveError("cannot whiten patches: there are no images")
        mean = sums / count
        eigenvalues, eigenvectors = torch.linalg.eigh(products / count - torch.outer(mean, mean))
        self._set_filters((eigenvectors / (eigenvalues.clamp(min=0) + eps).sqrt()).T.flip(0))

    @torch.no_grad()
    def _set_filters(self, filters: Tensor) -> None:
        width = len(self.conv.weight)  # not `self.width`: `depth_multiplier` may have narrowed or widened the stem
        kept = filters[: -(-width // 2)]
        both = torch.cat([kept, -kept])
        repeated = both.repeat(-(-width // len(both)), 1)[:width]
        self.conv.weight.copy_(repeated.view_as(self.conv.weight))


class Head(nn.Module):
    """Pooling, dropout and a linear classifier.

    Args:
        in_width: Number of channels of the activated input.
        num_classes: Number of classes; 0 omits the classifier.
        global_pool: timm's name of the pooling (`"avg"`, `"max"`, `"avgmax"`, `"catavgmax"`, or `""` for none).
        drop_rate: Dropout rate before the classifier.
        grid: The map is pooled to grid x grid positions and flattened; 1 is global pooling. 3 in SparseNet's ImageNet
            models (inferred from the parameter counts of its Table 4).

    Raises:
        SkipweaveError: `global_pool` is unknown, or `""` with a positive `num_classes`.

    Shape: (N, in_width, H, W) to (N, num_classes).
    """

    def __init__(
        self, in_width: int, num_classes: int, *, global_pool: str = "avg", drop_rate: float = 0.0, grid: int = 1
    ) -> None:
        super().__init__()
        self.in_width = in_width
        self.grid = grid
        self.drop = nn.Dropout(drop_rate)
        self.reset(num_classes, global_pool)

    def reset(self, num_classes: int, global_pool: str) -> None:
        """Replace the pooling and the classifier."""
        if global_pool not in POOLINGS:
            raise SkipweaveError(f"global_pool is {global_pool!r}: expected one of {', '.join(map(repr, POOLINGS))}")
        if num_classes and not global_pool:
            raise SkipweaveError(f"global_pool is '' with num_classes {num_classes}: a classifier needs pooling")
        self.num_classes = num_classes
        self.global_pool = global_pool
        self.pool = SelectAdaptivePool2d(self.grid, pool_type=global_pool, flatten=bool(global_pool))
        self.hidden_size = self.in_width * (self.pool.feat_mult() * self.grid**2 if global_pool else 1)
        self.fc = nn.Linear(self.hidden_size, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits, or the input of the classifier if `pre_logits`."""
        x = self.drop(self.pool(x))
        return x if pre_logits else self.fc(x)


class ScaledHead(Head):
    """Head without bias, whose logits are 64 / features times the scores of the classifier.

    Initial weights have a standard deviation of 1/64. The function is that of Jordan (2024), who divides by the number
    of features and begins with a standard deviation of 1; learning rates are 64 ** 2 times as small, so that those of
    other networks suit.
    """

    def reset(self, num_classes: int, global_pool: str) -> None:
        """Replace the pooling and the classifier."""
        super().reset(num_classes, global_pool)
        if num_classes:
            self.fc = nn.Linear(self.hidden_size, num_classes, bias=False)
            with torch.no_grad():
                self.fc.weight /= _SCALE * self.fc.weight.std()

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits, or the input of the classifier if `pre_logits`."""
        x = super().forward(x, pre_logits=True)
        return x if pre_logits or not self.num_classes else self.fc(x) * (_SCALE / self.hidden_size)
