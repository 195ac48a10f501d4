"""A network with the outputs of all its heads, and the weight of each head in the loss."""

from collections.abc import Sequence

from torch import Tensor, nn

from skipweave.models.heads import all_heads
from skipweave.training.tasks.deep_supervision import halves_loss_weights, sieve_loss_weights
from skipweave.transforms.memory_format import FORMATS, best_memory_format
from skipweave_config.recipe import LossConfig

_WEIGHTS = {"halves": halves_loss_weights, "sieve": sieve_loss_weights}


class AllHeads(nn.Module):
    """A network that returns the logits of its early exits and of its last head.

    Args:
        network: Any network; one without early exits has one head. It is converted to the memory format that is fastest
            for it, and so are the images.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.memory_format = FORMATS[best_memory_format(network)]
        self.network = network.to(memory_format=self.memory_format)

    def forward(self, x: Tensor) -> Sequence[Tensor]:
        """Return the logits of every head, early exits first, for images (N, C, H, W)."""
        return all_heads(self.network, x.contiguous(memory_format=self.memory_format))


def _weights(loss: LossConfig, heads: int) -> Sequence[float]:
    if isinstance(loss.heads, str) and loss.heads != "last":
        return _WEIGHTS[loss.heads](heads)
    return (*[0.0 if loss.heads == "last" else loss.heads] * (heads - 1), 1.0)


class LossWeights:
    """The weight of each head's loss, by epoch."""

    def __init__(self, loss: LossConfig, heads: int, epochs: int) -> None:
        self._last_only = (0.0,) * (heads - 1) + (1.0,)
        self._usual = _weights(loss, heads)
        self._usual_epochs = epochs - loss.last_epochs

    def __call__(self, epoch: int) -> Sequence[float]:
        """The weights in an epoch, counted from 0."""
        return self._usual if epoch < self._usual_epochs else self._last_only
