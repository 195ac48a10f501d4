"""The outputs of all heads of a network: early exits and the last head."""

from torch import Tensor, nn


def all_heads(network: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """The logits of every head of a network, early exits first, for images (N, C, H, W)."""
    if count_heads(network) == 1:
        return (network(x),)
    return tuple(network.forward_anytime(x))  # type: ignore[operator]


def count_heads(network: nn.Module) -> int:
    """The number of early exits and the last head."""
    exits = getattr(network, "exits", ()) if hasattr(network, "forward_anytime") else ()
    return 1 + len(exits)
