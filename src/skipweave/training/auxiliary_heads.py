"""All heads of a network as one module's output, and what each counts in the loss."""

from collections.abc import Sequence

from torch import Tensor, nn

from skipweave.training.tasks.deep_supervision import head_shares, sieve_shares
from skipweave.transforms.memory_format import FORMATS, best_memory_format
from skipweave_config.recipe import LossConfig

_SHARES = {"halves": head_shares, "sieve": sieve_shares}


def all_heads(network: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """The logits of exit after exit, and of a network's own head.

    Args:
        network: any; one without exits has one head.
        x: (N, C, H, W).
    """
    if count_heads(network) == 1:
        return (network(x),)
    return tuple(network.forward_anytime(x))  # type: ignore[operator]


class AllHeads(nn.Module):
    """A network that gives the logits of every head, the last one being its own.

    Args:
        network: its weights are brought into the memory format in which it computes fastest, and so are the images.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.memory_format = FORMATS[best_memory_format(network)]
        self.network = network.to(memory_format=self.memory_format)

    def forward(self, x: Tensor) -> Sequence[Tensor]:
        """Return the logits of exit after exit and of the last head."""
        return all_heads(self.network, x.contiguous(memory_format=self.memory_format))


def count_heads(network: nn.Module) -> int:
    """Its exits and the last head."""
    return 1 + len(getattr(network, "exits", ()))


class Shares:
    """What each head counts, by epoch; a single one has all.

    Args:
        loss: the settings.
        heads: how many the network has.
        epochs: of the run.
    """

    def __init__(self, loss: LossConfig, heads: int, epochs: int) -> None:
        self._last_alone = (0.0,) * (heads - 1) + (1.0,)
        self._usual = self._last_alone if loss.heads == "last" else _SHARES[loss.heads](heads)
        self._usual_epochs = epochs - loss.last_epochs

    def __call__(self, epoch: int) -> Sequence[float]:
        """The shares of an epoch, counted from 0."""
        return self._usual if epoch < self._usual_epochs else self._last_alone
