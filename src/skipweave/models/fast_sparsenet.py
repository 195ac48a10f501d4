"""Small networks that train fast: whitening stem, post-activation units, max-pooled head.

Stem, head, norms and initialization follow Jordan (2024), "94% on CIFAR-10 in 3.29 seconds on a single GPU", and Page
(2019), "How to train your ResNet"; stages of concatenated nodes are SparseNet's. The networks of both are here as well,
`airbench94` and `resnet9_fast`.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from skipweave.layers import (
    Concat,
    Mean,
    NormLayer,
    NormName,
    PooledConv,
    PostActivation,
    ScaledHead,
    Stage,
    Sum,
    WhiteningStem,
    conv1x1,
    conv3x3,
    make_norm,
)
from skipweave.models.arguments import MAX_UNITS, Arguments, Heads, PerStage, TopologyArgument
from skipweave.models.classifier import StagedNet
from skipweave.models.registry import cifar_cfg, register_variants
from skipweave.topology import Topology

AggregationName = Literal["concat", "sum", "mean"]

_STAGES = 3
_AGGREGATIONS: dict[AggregationName, type[Concat | Sum]] = {"concat": Concat, "sum": Sum, "mean": Mean}


class FastSparseNet(StagedNet):
    """Three stages of convolutions that end with norm and GELU, on concatenated, summed or averaged nodes.

    A stage begins with a convolution (3x3 in the first stage, else `transition_kernel`), 2x2 max pool, norm and GELU,
    which compute node 0. Norms have a fixed weight of 1 and a trained bias; batch norms have a momentum of 0.4 and an
    eps of 1e-12. 3x3 convolutions are initialized as identity on their first input channels, which are those of the
    newest node, else as torch does.

    Args:
        units: Number of units, for all stages or per stage; 0 for a stage without.
        growth: Channels that a unit adds, for all stages or per stage; if nodes are not concatenated, their channels.
        topology: Name of a pattern, `Topology` or list of lists, for all stages or per stage.
        aggregation: `"concat"`, or for nodes of one width `"sum"` (residual networks) or `"mean"` (with the topology
            `"fractal"`, FractalNets: SparseNet, Figure 1d).
        entry_width: Number of channels of node 0, per stage. None is the growth in the first stage and twice that in
            the others, or the growth in all stages if nodes are not concatenated.
        transition_kernel: Side of the kernels of the transitions, 1 or 3.
        stem_width: Number of filters of the stem. It does not depend on `in_chans`, so that weights can be adapted to
            other channels; 24 are all that whiten color images. With more than 3 channels, 8 * in_chans are all.
        num_classes: See `ClassifierNet`, also for `in_chans`, `global_pool`, `heads`, `drop_rate` and
            `norm_layer`.

    Raises:
        SkipweaveError: Arguments are invalid; names all of them.

    Shape: (N, in_chans, H, W) to (N, num_classes).
    """

    pools_after_stem = True

    def __init__(
        self,
        *,
        units: PerStage = 3,
        growth: PerStage = (64, 128, 128),
        topology: TopologyArgument = "exponential",
        aggregation: AggregationName = "concat",
        entry_width: PerStage | None = None,
        transition_kernel: Literal[1, 3] = 1,
        stem_width: int = 24,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "max",
        heads: Heads = "last",
        drop_rate: float = 0.0,
        norm_layer: NormLayer = "batch",
    ) -> None:
        check = Arguments()
        lengths = check.per_stage("units", units, _STAGES, least=0)
        check.require(0 < sum(lengths) <= MAX_UNITS, f"units is {units!r}: expected 1 to {MAX_UNITS:,} units in total")
        growths = check.per_stage("growth", growth, _STAGES)
        check.one_of("aggregation", aggregation, list(_AGGREGATIONS))
        check.one_of("transition_kernel", transition_kernel, [1, 3])
        check.integer("stem_width", stem_width)
        if entry_width is None:
            entry_width = (growths[0], *(2 * width for width in growths[1:])) if aggregation == "concat" else growths
        entries = check.per_stage("entry_width", entry_width, _STAGES)
        check.require(
            aggregation == "concat" or entries == growths,
            f"entry_width is {entry_width!r} with growth {growth!r}: expected the same with aggregation "
            f"{aggregation!r}",
        )
        exits = check.classifier(heads, lengths, num_classes, in_chans, global_pool, drop_rate)
        norm = check.norm_layer(norm_layer)
        topologies = check.topologies(topology, lengths)
        check.done()

        stem = WhiteningStem(in_chans, stem_width)
        transition = conv3x3 if transition_kernel == 3 else conv1x1
        post_activation = PostActivation(_AGGREGATIONS[aggregation](), partial(_norm_gelu, norm_layer=norm))
        stages = _make_stages(topologies, entries, growths, stem.width, transition, post_activation)
        features = stages[-1].out_width
        super().__init__(
            stem,
            stages,
            nn.Identity(),  # nodes are activated already
            ScaledHead(features, num_classes, global_pool=global_pool, drop_rate=drop_rate),
            exits,
            strides=[2, 4, 8],
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                _initialize_as_identity(module)

    def initialize_from_images(self, batches: Iterable[Tensor]) -> None:
        """Set the fixed filters of the stem, so that they whiten patches of training images (`WhiteningStem.whiten`).

        `skipweave.training.fit` calls it where training starts from random weights.

        Args:
            batches: Normalized images, (N, in_chans, H, W) each; some thousands are enough.

        Raises:
            SkipweaveError: There are no images.
        """
        self.stem.whiten(batches)  # type: ignore[operator]


def _make_stages(
    topologies: Sequence[Topology],
    entries: Sequence[int],
    growths: Sequence[int],
    width: int,
    transition: Any,
    aggregation: PostActivation,
) -> list[Stage]:
    """Create the stages; `width` is the stem's, and `transition` creates the convolution before all but the first."""
    stages: list[Stage] = []
    for graph, entry, growth in zip(topologies, entries, growths, strict=True):
        conv = transition(stages[-1].out_width, entry) if stages else conv3x3(width, entry)
        widths = [entry] + [growth] * graph.units
        stages.append(Stage(graph, aggregation, PooledConv(conv, aggregation.node(entry)), widths, conv3x3))
    return stages


def _norm_gelu(width: int, norm_layer: NormName) -> nn.Sequential:
    norm = make_norm(width, norm_layer)
    norm.weight.requires_grad_(False)
    if isinstance(norm, nn.BatchNorm2d):
        norm.momentum, norm.eps = 0.4, 1e-12
    return nn.Sequential(norm, nn.GELU())


def _initialize_as_identity(conv: nn.Conv2d) -> None:
    """Pass the first input channels through, as far as there are outputs; other inputs and outputs stay as they are."""
    passed = min(conv.weight.shape[:2])
    if not conv.weight.is_meta:
        nn.init.dirac_(conv.weight[:passed, :passed])


_RESIDUAL = [[0], [1], [2, 0]]  # two convolutions, and the input added to the result

_VARIANTS: dict[str, dict[str, Any]] = {
    "sparsenet_fast_64": dict(units=3, growth=(64, 128, 128), topology="exponential"),
    "sparsenet_fast_96": dict(units=3, growth=(96, 192, 192), topology="exponential"),
}
#: The networks of Jordan (2024) and Page (2019), the latter with the whitening stem as its first layer.
_PEERS: dict[str, dict[str, Any]] = {
    "airbench94": dict(
        units=1, growth=(64, 256, 256), topology="plain", entry_width=(64, 256, 256), transition_kernel=3
    ),
    "resnet9_fast": dict(
        units=(2, 0, 2),
        growth=(128, 256, 512),
        topology=(_RESIDUAL, [[0]], _RESIDUAL),
        aggregation="sum",
        transition_kernel=3,
    ),
}

_CFG = dict(cifar_cfg("1801.05895"), pool_size=(3, 3))
register_variants(FastSparseNet, _VARIANTS, _CFG)
register_variants(FastSparseNet, _PEERS, dict(_CFG, paper_ids="arXiv:2404.00498"))
