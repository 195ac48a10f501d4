"""timm's Inception-V3 with its auxiliary tower as an early exit, so that it trains as other networks with exits."""

from collections.abc import Iterator

from timm.models.inception_v3 import InceptionV3
from torch import Tensor, nn


class InceptionV3WithExit(InceptionV3):
    """timm's Inception-V3 with `aux_logits=True`, whose auxiliary tower is an early exit.

    `forward` returns the logits of the last head only, where timm's returns both.

    Attributes:
        exits: The auxiliary tower.
    """

    @property
    def exits(self) -> tuple[nn.Module, ...]:
        """The auxiliary tower; nothing once timm has removed it."""
        return (self.AuxLogits,) if self.AuxLogits is not None else ()

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last map, (N, 2048, H / 32, W / 32)."""
        return self.forward_postaux(self.forward_preaux(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the last head; in training mode the tower runs too, for tools that trace all layers."""
        if self.training:
            return list(self.forward_anytime(x))[-1]
        return self.forward_head(self.forward_features(x))

    def forward_anytime(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the logits of the auxiliary tower, then those of the last head."""
        x = self.forward_preaux(x)
        for tower in self.exits:
            yield tower(x)
        yield self.forward_head(self.forward_postaux(x))


def with_exit(model: nn.Module) -> nn.Module:
    """Let the auxiliary tower of timm's Inception-V3 be an early exit; other models are returned as they are."""
    if type(model) is InceptionV3 and model.aux_logits:
        model.__class__ = InceptionV3WithExit
    return model
