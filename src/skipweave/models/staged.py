"""What all classification networks of stages share: forward, features, classifier, after timm's conventions."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from skipweave.layers import Head, Stage

_PARTS_A_STAGE = 4


class StagedNet(nn.Module):
    """Stem, stages, last normalisation, head.

    Args:
        stem: Tensor to tensor; carries a `stride`.
        stages: The stages in order.
        norm: Last BN-ReLU, (N, C, H, W) to the same.
        head: Classifier.
        reductions: Stride of each stage's output against the image.
        stem_width: Channels of the stem's output where it is a feature map of its own; 0 where it is not.

    Attributes:
        num_features: Channels C of `forward_features`.
        head_hidden_size: Features that the classifier reads.
        feature_info: Feature maps for timm's `features_only`.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[Stage],
        norm: nn.Module,
        head: Head,
        *,
        num_classes: int,
        in_chans: int,
        drop_rate: float,
        reductions: Sequence[int],
        stem_width: int,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.num_features = stages[-1].out_width
        self.stem = stem
        self.stages = nn.Sequential(*stages)
        self.norm = norm
        self.head = head
        self.head_hidden_size = head.hidden_size
        names = [f"stages.{index}" for index in range(len(stages) - 1)] + ["norm"]
        self.feature_info: list[dict[str, Any]] = [
            dict(num_chs=stage.out_width, reduction=reduction, module=name)
            for stage, reduction, name in zip(stages, reductions, names, strict=True)
        ]
        if stem_width:
            self.feature_info.insert(0, dict(num_chs=stem_width, reduction=stem.stride, module="stem"))

    def forward_features(self, x: Tensor) -> Tensor:
        """Activated map of the last stage, (N, in_chans, H, W) to (N, num_features, H / stride, W / stride)."""
        return self.norm(self.stages(self.stem(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (N, num_classes) of an activated map, or what the classifier would read."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, in_chans, H, W)."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """Return the last linear layer."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier; `global_pool` None keeps the pooling, `num_classes` 0 leaves the classifier out."""
        self.num_classes = num_classes
        self.head.reset(num_classes, self.head.global_pool if global_pool is None else global_pool)
        self.head_hidden_size = self.head.hidden_size

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the nodes for the backward pass and run the units again there.

        Outputs, gradients and running statistics stay what they are without it.
        """
        for stage in self._all_stages():
            stage.grad_checkpointing = enable

    def _all_stages(self) -> list[Stage]:
        return [stage for stage in self.stages if isinstance(stage, Stage)]

    def group_matcher(self, coarse: bool = False) -> dict[str, str] | Callable[[str], tuple[float, ...]]:
        """Groups of parameters by depth for timm's layer-wise settings: by stage, or by quarters of a stage.

        Never by unit: a layer-wise decay would vanish over hundreds of them.
        """
        if coarse:
            return dict(stem=r"^stem", stages=r"^stages\.(\d+)")
        lengths = [len(stage.units) for stage in self._all_stages()]

        def group(name: str) -> tuple[float, ...]:
            if name.startswith("stem"):
                return (0.0,)
            if not (found := re.match(r"stages\.(\d+)\.(?:units\.(\d+))?", name)):
                return (float("inf"),)
            stage, unit = int(found[1]), int(found[2] or 0)
            return (1.0, stage, unit * _PARTS_A_STAGE // lengths[stage])

        return group


def initialise(model: nn.Module) -> None:
    """He initialisation by fan-out for convolutions; norms 1 and 0; classifier biases 0 (SparseNet, section 4.1)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
