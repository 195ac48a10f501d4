"""The classifier."""

from timm.layers import SelectAdaptivePool2d
from torch import Tensor, nn

from skipweave.errors import SkipweaveError


class Head(nn.Module):
    """Pooling, dropout and a linear classifier.

    Args:
        in_width: Channels of the activated map.
        num_classes: Classes; 0 leaves the classifier out.
        global_pool: timm's name of a pooling (`"avg"`, `"max"`, `"avgmax"`, `"catavgmax"`, or `""` for none).
        drop_rate: Dropout before the classifier.
        grid: Side of the grid that the map is pooled to and flattened; 1 is global pooling. SparseNet's ImageNet
            forms have 3 (inferred from the counts of its Table 4).

    Raises:
        SkipweaveError: Classes are asked for without pooling.

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
        """Give the head a new pooling and a new classifier."""
        if num_classes and not global_pool:
            raise SkipweaveError(f"global_pool is '' with num_classes {num_classes}: a classifier needs pooling")
        self.global_pool = global_pool
        self.pool = SelectAdaptivePool2d(self.grid, pool_type=global_pool, flatten=bool(global_pool))
        self.hidden_size = self.in_width * (self.pool.feat_mult() * self.grid**2 if global_pool else 1)
        self.fc = nn.Linear(self.hidden_size, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits, or with `pre_logits` what the classifier would read."""
        x = self.drop(self.pool(x))
        return x if pre_logits else self.fc(x)
