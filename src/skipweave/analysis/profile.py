"""`profile`: what a network costs and how it is linked."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from skipweave.analysis.image_sizes import check_images, name_of
from skipweave.analysis.memory import peak_inference_bytes, saved_bytes
from skipweave.analysis.operation_counts import CONVENTIONS, Counts, count, counting, owns_gains
from skipweave.errors import SkipweaveError
from skipweave.layers import ChannelSparseConv2d, CrossConv, SpanningStages
from skipweave.topology import Topology
from skipweave.tracing.copies import on_meta
from skipweave.tracing.example_inputs import InputSize, checked_input_size
from skipweave.tracing.replicas import QuickNorms

BATCH = 2  # training mode cannot normalize one image where a map is 1x1


@dataclass(frozen=True)
class Profile:
    """What a network costs for one image, and how its stages are linked.

    Attributes:
        input_size: Channels, height and width.
        parameters_by_type: Learnable parameters of "convolution", "normalization" (the readers' gains and biases),
            "linear" and "other" layers.
        counts: What one forward pass does.
        saved_bytes: Bytes that a training step saves for its backward pass, an image, parameters excluded.
        inference_bytes: Bytes that are alive at once, at most, in inference on one image, parameters excluded.
        topologies: What the units of each stage read, or of all stages together where one topology spans them; empty
            for a network without stages.
        exit_macs: Multiply-accumulates until each exit, the last head included; empty for a network without exits.
    """

    input_size: InputSize
    parameters_by_type: dict[str, int]
    counts: Counts
    saved_bytes: int
    inference_bytes: int
    topologies: tuple[Topology, ...]
    exit_macs: tuple[int, ...] = ()

    @property
    def parameters(self) -> int:
        """Learnable parameters."""
        return sum(self.parameters_by_type.values())

    @property
    def parameters_with_statistics(self) -> int:
        """Learnable parameters, and two running statistics for each channel that a reader normalizes.

        This is the count of the papers' own form, a batch norm a reader. Of the statistics of a concatenated node we
        keep a single pair, so the network stores fewer numbers than this.
        """
        return self.parameters + self.parameters_by_type["normalization"]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layers."""
        return self.counts.total_macs

    def operations(self, convention: str) -> int:
        """Operations as one of the papers counts them.

        Args:
            convention: A key into `skipweave.analysis.operation_counts.CONVENTIONS`.

        Raises:
            SkipweaveError: There is no such convention.
        """
        if convention not in CONVENTIONS:
            raise SkipweaveError(f"unknown convention {convention!r}: expected one of {', '.join(CONVENTIONS)}")
        return CONVENTIONS[convention](self.counts)

    @property
    def units(self) -> int:
        """Units of all stages."""
        return sum(topology.units for topology in self.topologies)

    @property
    def links(self) -> int:
        """In-links of the units of all stages."""
        return sum(topology.links for topology in self.topologies)

    @property
    def mean_in_degree(self) -> float:
        """Mean number of nodes that a unit reads (0 where there are no units)."""
        return self.links / self.units if self.units else 0.0

    @property
    def max_in_degree(self) -> int:
        """Largest number of nodes that a unit reads."""
        return max((topology.max_in_degree for topology in self.topologies), default=0)

    @property
    def max_distances(self) -> tuple[float, ...]:
        """Maximum back-propagation distance of each topology."""
        return tuple(topology.max_distance for topology in self.topologies)


def profile(model: nn.Module, input_size: tuple[int, int, int] | None = None) -> Profile:
    """Measure a network, without running it: the work is done on a copy on the meta device, where nothing is stored.

    The model itself is not changed; it may be on any device, the meta device included.

    Args:
        model: Any network of convolutions that takes one batch of images.
        input_size: Channels, height and width; by default those of the model's `pretrained_cfg`.

    Raises:
        SkipweaveError: The size is missing or is not three positive numbers, or the model cannot take such images.

    >>> import torchvision
    >>> profile(torchvision.models.densenet121(), (3, 224, 224)).macs
    2834161664
    """
    size = checked_input_size(model, input_size)
    twin = on_meta(model)
    try:
        with QuickNorms():
            counts = count(twin, _images(1, size))
            saved = saved_bytes(twin, _images(BATCH, size)) // BATCH
            alive = peak_inference_bytes(twin, _images(1, size))
            exits = exit_macs(twin, _images(1, size))
    except Exception as error:  # networks of other libraries fail each in their own way
        check_images(twin.eval(), size)
        check_images(twin, size, batch=BATCH, training=True)
        raise SkipweaveError(f"{name_of(model)} cannot take images of size {size}: {error}") from error
    return Profile(size, parameters_by_type(model), counts, saved, alive, topologies_of(model), exits)


def parameters_by_type(model: nn.Module) -> dict[str, int]:
    """Learnable parameters by kind of layer; one that several layers share counts once."""
    kinds = Counter({"convolution": 0, "normalization": 0, "linear": 0, "other": 0})
    seen: set[int] = set()
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                kinds[_kind(module)] += parameter.numel()
                seen.add(id(parameter))
    return dict(kinds)


def _kind(module: nn.Module) -> str:
    if owns_gains(module):
        return "normalization"
    if isinstance(module, _ConvNd | CrossConv | ChannelSparseConv2d):
        return "convolution"
    return "linear" if isinstance(module, nn.Linear) else "other"


def exit_macs(model: nn.Module, images: Tensor) -> tuple[int, ...]:
    """Multiply-accumulates of `forward_anytime` until each exit; those of the exits before it are among them."""
    if not getattr(model, "exits", ()):
        return ()
    with counting(model) as mode:
        return tuple(mode.macs.total() for _ in model.forward_anytime(images))  # type: ignore[operator]


def topologies_of(model: nn.Module) -> tuple[Topology, ...]:
    """Return the topology of each stage of a model, or the one that spans its stages; empty for models of others.

    The virtual node of each reads what the network's own reader reads: the transition, or the last head.
    """
    stages = getattr(model, "stages", ())
    if isinstance(stages, SpanningStages):
        return (stages.plan.as_read,)
    if not isinstance(stages, Iterable):
        return ()
    return tuple(stage.topology for stage in stages if isinstance(getattr(stage, "topology", None), Topology))


def _images(number: int, size: InputSize) -> Tensor:
    return torch.empty(number, *size, device="meta")
