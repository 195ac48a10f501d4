"""Stems: what comes before the first stage."""

from torch import Tensor, nn

from skipweave.layers.unit import conv3x3


class CifarStem(nn.Module):
    """3x3 convolution, stride 1, nothing else; (N, in_chans, H, W) to (N, width, H, W)."""

    stride = 1

    def __init__(self, in_chans: int, width: int) -> None:
        super().__init__()
        self.conv = conv3x3(in_chans, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw map."""
        return self.conv(x)


class ImageNetStem(nn.Module):
    """7x7 stride-2 convolution, BN, ReLU; (N, in_chans, H, W) to (N, width, H / 2, W / 2).

    The 3x3 stride-2 max pool that follows belongs to the first stage's entry, so that a feature map at stride 2 exists.
    """

    stride = 2

    def __init__(self, in_chans: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        return self.norm(self.conv(x)).relu()
