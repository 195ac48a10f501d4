"""What all classification networks share: forward, features, exits, classifier, after timm's conventions."""

import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from skipweave.layers import Head, SpanningStages, recompute
from skipweave.models.exits import Nodes, predictions

_PARTS_A_STAGE = 4


class Exit(nn.Module):
    """A head before the end: read a node and what it read (BN-ReLU), pool, classify (Log-DenseNet, section 3.1)."""

    def __init__(self, read: nn.Module, head: Head) -> None:
        super().__init__()
        self.read = read
        self.head = head

    def forward(self, *nodes: Tensor) -> Tensor:
        """Return logits (N, num_classes) of the nodes read, each (N, C, H, W) with its own C."""
        return self.head(self.read(*nodes))


class ClassifierNet(nn.Module, ABC):
    """Stem, stages, last BN-ReLU, head, and exits in between where they are asked for.

    Args:
        stem: Tensor to tensor; carries a `stride`.
        stages: What `run` runs.
        norm: Last BN-ReLU; reads what the last stage leaves.
        head: Classifier.
        exits: By the unit behind which they are.
        num_classes: Classes of all heads.
        in_chans: Channels of the images.
        drop_rate: Dropout before the classifier.

    Attributes:
        num_features: Channels C of `forward_features`.
        head_hidden_size: Features that the classifier reads.
        feature_info: Feature maps for timm's `features_only`.
    """

    feature_info: list[dict[str, Any]]
    grad_checkpointing = False

    def __init__(
        self,
        stem: nn.Module,
        stages: nn.Sequential | SpanningStages,
        norm: nn.Module,
        head: Head,
        exits: Mapping[int, Exit],
        *,
        num_classes: int,
        in_chans: int,
        drop_rate: float,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.num_features = head.in_width
        self.head_hidden_size = head.hidden_size
        self.stem = stem
        self.stages = stages
        self.norm = norm
        self.head = head
        self.exits = nn.ModuleList(exits.values())
        self.exit_places = tuple(exits)

    @abstractmethod
    def run(self, x: Tensor, places: Sequence[int] = ()) -> Iterator[Nodes]:
        """Run on the stem's output; yield what exits behind these units read, then what the last head reads.

        Nothing behind a place is computed before the next one is asked for.
        """

    @abstractmethod
    def run_stages(self, x: Tensor) -> Iterator[Nodes]:
        """Run stage by stage on the stem's output; yield what each leaves. The rest waits to be asked."""

    def _run_stem(self, x: Tensor) -> Tensor:
        again = self.grad_checkpointing and self.training and torch.is_grad_enabled()
        return recompute(self.stem, x) if again else self.stem(x)

    def forward_features(self, x: Tensor) -> Tensor:
        """Activated map of the last stage, (N, in_chans, H, W) to (N, num_features, H / stride, W / stride)."""
        return self.norm(*next(self.run(self._run_stem(x))))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (N, num_classes) of an activated map, or what the classifier would read."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, in_chans, H, W)."""
        return self.forward_head(self.forward_features(x))

    def forward_anytime(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the logits (N, num_classes) of exit after exit, the last head's at the end.

        Nothing behind an exit is computed before the next one is asked for. A network without exits yields once.
        """
        run = self.run(self._run_stem(x), self.exit_places)
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
        """Feature maps by index, after timm's method of this name.

        Args:
            x: Images (N, in_chans, H, W).
            indices: Which maps of `feature_info`; a number means that many last ones, None all.
            norm: Not used: the last map is activated, the others are not.
            stop_early: Whether to run no further than the last map asked for.
            output_fmt: Only `"NCHW"`.
            intermediates_only: Whether to return the maps alone, without the last features.

        Returns:
            The maps, or the last features and the maps.
        """
        take, last = feature_take_indices(len(self.feature_info), indices)
        wanted = last + 1 if stop_early or intermediates_only else len(self.feature_info)
        maps = list(itertools.islice(self._feature_maps(x), wanted))
        chosen = [maps[index] for index in take]
        return chosen if intermediates_only else (maps[-1], chosen)

    def _feature_maps(self, x: Tensor) -> Iterator[Tensor]:
        """All maps of `feature_info` in order: perhaps the stem's, each stage's, the last one activated."""
        x = self._run_stem(x)
        if self.feature_info[0]["module"] == "stem":
            yield x
        stages = self.run_stages(x)
        for _ in range(len(self.stages) - 1):
            yield torch.cat(next(stages), dim=1)
        yield self.norm(*next(stages))

    def get_classifier(self) -> nn.Module:
        """Return the last linear layer."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace all classifiers; `global_pool` None keeps the pooling, `num_classes` 0 leaves the classifiers out."""
        self.num_classes = num_classes
        for head in (self.head, *(way_out.head for way_out in self.exits if isinstance(way_out, Exit))):
            head.reset(num_classes, head.global_pool if global_pool is None else global_pool)
        self.head_hidden_size = self.head.hidden_size


def depth_groups(
    pattern: str, stage_of: Callable[[re.Match[str]], tuple[int, float]]
) -> Callable[[str], tuple[float, ...]]:
    """Groups of parameters by depth for timm's layer-wise settings: the stem, quarters of each stage, the rest.

    Never by unit: a layer-wise decay would vanish over hundreds of them.

    Args:
        pattern: Matches the names of a stage's parameters.
        stage_of: Given such a match, its stage and how far into the stage it lies, from 0 to below 1.
    """

    def group(name: str) -> tuple[float, ...]:
        if name.startswith("stem"):
            return (0.0,)
        if not (found := re.match(pattern, name)):
            return (float("inf"),)
        stage, position = stage_of(found)
        return (1.0, stage, int(position * _PARTS_A_STAGE))

    return group


def initialize(model: nn.Module) -> None:
    """He initialization by fan-out for convolutions; norms 1 and 0; other biases 0 (SparseNet, section 4.1)."""
    for module in model.modules():
        # On the meta device there is nothing to draw, and drawing it takes half of the time of building.
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
