"""Networks of stages whose topologies restart in every stage."""

import re
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn

from skipweave.layers import Head, SeqStage, Stage
from skipweave.models.anytime import Nodes
from skipweave.models.classifier import ClassifierNet, Exit, depth_groups


class StagedNet(ClassifierNet):
    """A classification network of stages, each tensor in, tensor out.

    Args:
        stem: Tensor to tensor; carries a `stride`.
        stages: The stages in order.
        norm: Last BN-ReLU, (N, C, H, W) to the same.
        head: Classifier.
        exits: One a stage but the last, or none.
        num_classes: Classes of all heads.
        in_chans: Channels of the images.
        drop_rate: Dropout before the classifier.
        reductions: Stride of each stage's output against the image.
        stem_width: Channels of the stem's output where it is a feature map of its own; 0 where it is not.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[Stage | SeqStage],
        norm: nn.Module,
        head: Head,
        exits: Sequence[Exit] = (),
        *,
        num_classes: int,
        in_chans: int,
        drop_rate: float,
        reductions: Sequence[int],
        stem_width: int,
    ) -> None:
        super().__init__(
            stem,
            nn.Sequential(*stages),
            norm,
            head,
            exits,
            num_classes=num_classes,
            in_chans=in_chans,
            drop_rate=drop_rate,
        )
        names = [f"stages.{index}" for index in range(len(stages) - 1)] + ["norm"]
        self.feature_info = [
            dict(num_chs=stage.out_width, reduction=reduction, module=name)
            for stage, reduction, name in zip(stages, reductions, names, strict=True)
        ]
        if stem_width:
            self.feature_info.insert(0, dict(num_chs=stem_width, reduction=stem.stride, module="stem"))

    def run_stages(self, x: Tensor) -> Iterator[Nodes]:
        """Run stage by stage and yield each one's output, alone in a tuple."""
        for stage in self.stages.children():
            x = stage(x)
            yield (x,)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the nodes for the backward pass and run the units again there.

        Outputs, gradients and running statistics stay what they are without it.
        """
        for stage in self._all_stages():
            stage.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, str] | Callable[[str], tuple[float, ...]]:
        """Groups of parameters for timm's layer-wise settings: by stage, or by quarters of a stage."""
        if coarse:
            return dict(stem=r"^stem", stages=r"^stages\.(\d+)")
        lengths = [len(stage.units) for stage in self._all_stages()]

        def stage_of(found: re.Match[str]) -> tuple[int, float]:
            stage, unit = int(found[1]), int(found[2] or 0)
            return stage, unit / max(1, lengths[stage])

        return depth_groups(r"stages\.(\d+)\.(?:units\.(\d+))?", stage_of)

    def _all_stages(self) -> list[Stage | SeqStage]:
        return [stage for stage in self.stages.children() if isinstance(stage, Stage | SeqStage)]
