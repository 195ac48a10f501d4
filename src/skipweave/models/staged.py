"""Networks of stages whose topologies restart in every stage."""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn

from skipweave.layers import Head, SeqStage, Stage
from skipweave.models.classifier import ClassifierNet, Exit, depth_groups
from skipweave.models.exits import Nodes


class StagedNet(ClassifierNet):
    """A classification network of stages, each tensor in, tensor out.

    Args:
        stem: Tensor to tensor; carries a `stride`.
        stages: The stages in order.
        norm: Last BN-ReLU, (N, C, H, W) to the same.
        head: Classifier.
        exit_places: Units behind which exits are, counted from 1 through all stages.
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
        exit_places: Sequence[int] = (),
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
            _make_exits(stages, exit_places, head, num_classes),
            num_classes=num_classes,
            in_chans=in_chans,
            drop_rate=drop_rate,
        )
        self._units = tuple(len(stage.units) for stage in stages)
        names = [f"stages.{index}" for index in range(len(stages) - 1)] + ["norm"]
        self.feature_info = [
            dict(num_chs=stage.out_width, reduction=reduction, module=name)
            for stage, reduction, name in zip(stages, reductions, names, strict=True)
        ]
        if stem_width:
            self.feature_info.insert(0, dict(num_chs=stem_width, reduction=stem.stride, module="stem"))

    def run(self, x: Tensor, places: Sequence[int] = ()) -> Iterator[Nodes]:
        """Run on the stem's output; yield what exits behind these units read, at the end the last stage's output."""
        start = 0
        for stage, units in zip(self.stages.children(), self._units, strict=True):
            inside = [place - start for place in places if start < place <= start + units]
            start += units
            if inside:
                stage_run: Iterator[Nodes] = stage.run(x, inside)  # type: ignore[operator]
                yield from itertools.islice(stage_run, len(inside))
                (x,) = next(stage_run)
                del stage_run  # and with it the nodes of the stage
            else:
                x = stage(x)
        yield (x,)

    def run_stages(self, x: Tensor) -> Iterator[Nodes]:
        """Run stage by stage and yield each one's output, alone in a tuple."""
        for stage in self.stages.children():
            x = stage(x)
            yield (x,)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the nodes for the backward pass and run the units and the stem again there.

        Outputs, gradients and running statistics stay what they are without it.
        """
        self.grad_checkpointing = enable
        for stage in self._all_stages():
            stage.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, str] | Callable[[str], tuple[float, ...]]:
        """Groups of parameters for timm's layer-wise settings: by stage, or by quarters of a stage."""
        if coarse:
            return dict(stem=r"^stem", stages=r"^stages\.(\d+)")

        def stage_of(found: re.Match[str]) -> tuple[int, float]:
            stage, unit = int(found[1]), int(found[2] or 0)
            return stage, unit / max(1, self._units[stage])

        return depth_groups(r"stages\.(\d+)\.(?:units\.(\d+))?", stage_of)

    def _all_stages(self) -> list[Stage | SeqStage]:
        return [stage for stage in self.stages.children() if isinstance(stage, Stage | SeqStage)]


def _make_exits(
    stages: Sequence[Stage | SeqStage], places: Sequence[int], last: Head, num_classes: int
) -> dict[int, Exit]:
    """Make an exit for each place, with a classifier like the last one's."""
    units = [(stage, node) for stage in stages for node in range(1, 1 + len(stage.units))]
    exits = {}
    for place in places:
        stage, node = units[place - 1]
        reader, width = stage.exit_reader(node)
        exits[place] = Exit(reader, Head(width, num_classes, global_pool=last.global_pool))
    return exits
