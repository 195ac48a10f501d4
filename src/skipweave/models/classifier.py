"""Classification networks: forward pass, features, early exits and classifier, following timm's conventions."""

import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from skipweave.layers import BlockStage, Head, SeqStage, SpanningStages, Stage, Stem, recompute

Nodes = tuple[Tensor, ...]

_GROUPS_PER_STAGE = 4


class Exit(nn.Module):
    """An early exit: reads a node and its sources (BN-ReLU), pools and classifies (Log-DenseNet, section 3.1)."""

    def __init__(self, read: nn.Module, head: Head) -> None:
        super().__init__()
        self.read = read
        self.head = head

    def forward(self, *nodes: Tensor) -> Tensor:
        """Return logits (N, num_classes) for nodes (N, C_s, H, W)."""
        return self.head(self.read(*nodes))


class ClassifierNet(nn.Module, ABC):
    """Stem, stages, final BN-ReLU and head, with optional early exits.

    All families take these arguments:

    - `num_classes`: Number of classes; 0 omits the classifiers.
    - `in_chans`: Number of image channels.
    - `global_pool`: timm's name of the heads' pooling.
    - `heads`: `"last"` (default); `"stages"` for an early exit after every stage but the last; or the units, counted
      from 1 through all stages, after which there are exits (`forward_anytime`).
    - `drop_rate`: Dropout rate before the classifier.
    - `norm_layer`: `"batch"` (default), or `"group"` or `"layer"`, which normalize each image separately, so that
      batches of one image train (`skipweave.layers.make_norm`, also for timm's names).

    Args:
        stem: The stem.
        stages: The stages.
        norm: Final BN-ReLU, which reads the output of the last stage.
        head: The classifier head.
        exits: Early exits, by the unit after which they are.
        feature_maps: Number of channels, stride and module name of the stages' feature maps.

    Attributes:
        num_features: Number of channels C of `forward_features`.
        head_hidden_size: Number of features that the classifier reads.
        feature_info: Feature maps for timm's `features_only`: the stem's, if it has layers and its map is larger than
            the first stage's, and each stage's.
        exit_units: The units after which there are early exits.
    """

    grad_checkpointing = False
    #: Whether the stem has a feature map of its own, whatever the arguments.
    pools_after_stem = False

    def __init__(
        self,
        stem: Stem,
        stages: nn.Sequential | SpanningStages,
        norm: nn.Module,
        head: Head,
        exits: Mapping[int, Exit],
        feature_maps: Sequence[tuple[int, int, str]],
    ) -> None:
        super().__init__()
        self.num_classes = head.num_classes
        self.in_chans = stem.in_chans
        self.drop_rate = head.drop.p
        self.num_features = head.in_width
        self.head_hidden_size = head.hidden_size
        self.stem = stem
        self.stages = stages
        self.norm = norm
        self.head = head
        self.exits = nn.ModuleList(exits.values())
        self.exit_units = tuple(exits)
        if feature_maps[0][1] > stem.stride and any(True for _ in stem.parameters()):
            feature_maps = [(stem.width, stem.stride, "stem"), *feature_maps]
        self.feature_info = [
            dict(num_chs=width, reduction=stride, module=module) for width, stride, module in feature_maps
        ]

    @abstractmethod
    def run(self, x: Tensor, stops: Sequence[int] = ()) -> Iterator[Nodes]:
        """Run the stages lazily on the stem's output.

        Yields:
            The nodes that an exit after each of the units `stops` reads, then those that the final norm reads. Nothing
            after a stop is computed before the next value is requested.
        """

    @abstractmethod
    def run_stages(self, x: Tensor) -> Iterator[Nodes]:
        """Run the stages lazily on the stem's output and yield the output nodes of each."""

    def _run_stem(self, x: Tensor) -> Tensor:
        checkpointing = self.grad_checkpointing and self.training and torch.is_grad_enabled()
        return recompute(self.stem, x) if checkpointing else self.stem(x)

    def forward_features(self, x: Tensor) -> Tensor:
        """Activated map of the last stage, (N, in_chans, H, W) to (N, num_features, H / stride, W / stride)."""
        return self.norm(*next(self.run(self._run_stem(x))))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (N, num_classes) of an activated map, or the input of the classifier if `pre_logits`."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, in_chans, H, W)."""
        return self.forward_head(self.forward_features(x))

    def forward_anytime(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the logits (N, num_classes) of each early exit, and at the end those of the head.

        Nothing after an exit is computed before the next value is requested.
        """
        run = self.run(self._run_stem(x), self.exit_units)
        yield from predictions(run, self.exits, lambda *nodes: self.head(self.norm(*nodes)))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Feature maps by index, as timm's method of this name.

        Args:
            x: Images (N, in_chans, H, W).
            indices: Indices into `feature_info`; a number selects that many last maps, None all.
            norm: Ignored: the last map is activated, the others are not.
            stop_early: Whether to stop after the last selected map.
            output_fmt: Only `"NCHW"`.
            intermediates_only: Whether to return only the maps, without the final features.

        Returns:
            The maps, or the final features and the maps.
        """
        take, last = feature_take_indices(len(self.feature_info), indices)
        needed = last + 1 if stop_early or intermediates_only else len(self.feature_info)
        maps = list(itertools.islice(self._feature_maps(x), needed))
        chosen = [maps[index] for index in take]
        return chosen if intermediates_only else (maps[-1], chosen)

    def _feature_maps(self, x: Tensor) -> Iterator[Tensor]:
        """All maps of `feature_info` in order, the last one activated."""
        x = self._run_stem(x)
        if self.feature_info[0]["module"] == "stem":
            yield x
        stages = self.run_stages(x)
        for _ in range(len(self.stages) - 1):
            yield torch.cat(next(stages), dim=1)
        yield self.norm(*next(stages))

    def get_classifier(self) -> nn.Module:
        """Return the final linear layer."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace all classifiers; `global_pool` None keeps the pooling, `num_classes` 0 omits the classifiers."""
        self.num_classes = num_classes
        for head in (self.head, *(early.head for early in self.exits if isinstance(early, Exit))):
            head.reset(num_classes, head.global_pool if global_pool is None else global_pool)
        self.head_hidden_size = self.head.hidden_size


class StagedNet(ClassifierNet):
    """A classification network whose topologies restart in every stage: each stage is tensor in, tensor out.

    Args:
        stem: The stem.
        stages: The stages in order.
        norm: Final BN-ReLU, (N, C, H, W) to the same.
        head: The classifier head.
        exit_units: Units after which there are early exits, counted from 1 through all stages.
        strides: Stride of each stage's output with respect to the image.
    """

    def __init__(
        self,
        stem: Stem,
        stages: Sequence[Stage | SeqStage | BlockStage],
        norm: nn.Module,
        head: Head,
        exit_units: Sequence[int] = (),
        *,
        strides: Sequence[int],
    ) -> None:
        modules = [*(f"stages.{index}" for index in range(len(stages) - 1)), "norm"]
        feature_maps = zip((stage.out_width for stage in stages), strides, modules, strict=True)
        exits = _make_exits(stages, exit_units, head)
        super().__init__(stem, nn.Sequential(*stages), norm, head, exits, [*feature_maps])
        self._units = tuple(len(stage.units) for stage in stages)

    def run(self, x: Tensor, stops: Sequence[int] = ()) -> Iterator[Nodes]:
        """Run the stages lazily; yield what exits after the units `stops` read, then the last stage's output."""
        start = 0
        for stage, units in zip(self.stages.children(), self._units, strict=True):
            inside = [unit - start for unit in stops if start < unit <= start + units]
            start += units
            if inside:
                stage_run: Iterator[Nodes] = stage.run(x, inside)  # type: ignore[operator]
                yield from itertools.islice(stage_run, len(inside))
                (x,) = next(stage_run)
                del stage_run  # frees the nodes of the stage
            else:
                x = stage(x)
        yield (x,)

    def run_stages(self, x: Tensor) -> Iterator[Nodes]:
        """Run the stages lazily and yield the output of each, in a tuple."""
        for stage in self.stages.children():
            x = stage(x)
            yield (x,)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Save only the nodes for the backward pass, and recompute units and stem there.

        Outputs, gradients and running statistics do not change.
        """
        self.grad_checkpointing = enable
        for stage in self.stages.children():
            if isinstance(stage, Stage | SeqStage | BlockStage):
                stage.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, str] | Callable[[str], tuple[float, ...]]:
        """Parameter groups for timm's layer-wise learning rates: by stage, or by quarters of a stage."""
        if coarse:
            return dict(stem=r"^stem", stages=r"^stages\.(\d+)")

        def position(found: re.Match[str]) -> tuple[int, float]:
            stage, unit = int(found[1]), int(found[2] or 0)
            return stage, unit / max(1, self._units[stage])

        return depth_groups(r"stages\.(\d+)\.(?:units\.(\d+))?", position)


def _make_exits(
    stages: Sequence[Stage | SeqStage | BlockStage], exit_units: Sequence[int], last: Head
) -> dict[int, Exit]:
    """Create an early exit after each of the units, with a classifier like that of the last head."""
    units = [(stage, node) for stage in stages for node in range(1, 1 + len(stage.units))]
    exits = {}
    for unit in exit_units:
        stage, node = units[unit - 1]
        reader, width = stage.exit_reader(node)
        exits[unit] = Exit(reader, type(last)(width, last.num_classes, global_pool=last.global_pool))
    return exits


def predictions(run: Iterator[Nodes], exits: nn.ModuleList, head: Callable[..., Tensor]) -> Iterator[Tensor]:
    """Yield the output of each early exit, and finally of the head; `run` lazily yields the nodes that each reads."""
    for early in exits:
        yield early(*next(run))
    yield head(*next(run))


def depth_groups(
    pattern: str, position: Callable[[re.Match[str]], tuple[int, float]]
) -> Callable[[str], tuple[float, ...]]:
    """Parameter groups by depth for timm's layer-wise learning rates: the stem, quarters of each stage, the rest.

    Not by unit: layer-wise decay over hundreds of units would vanish.

    Args:
        pattern: Matches the parameter names of stages.
        position: Returns, given such a match, the stage and the relative depth in the stage, in [0, 1).
    """

    def group(name: str) -> tuple[float, ...]:
        if name.startswith("stem"):
            return (0.0,)
        if not (found := re.match(pattern, name)):
            return (float("inf"),)
        stage, depth = position(found)
        return (1.0, stage, int(depth * _GROUPS_PER_STAGE))

    return group


def initialize(model: nn.Module) -> None:
    """He initialization by fan-out for convolutions; norms 1 and 0; other biases 0 (SparseNet, section 4.1)."""
    for module in model.modules():
        # On the meta device there is nothing to initialize, and it would take half of the construction time.
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
