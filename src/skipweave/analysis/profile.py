"""`profile`: parameters, operations, memory and links of a network."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from skipweave.analysis.image_sizes import check_image_size, name_of
from skipweave.analysis.memory import peak_inference_bytes, saved_bytes
from skipweave.analysis.operation_counts import CONVENTIONS, Counts, count, counting, is_affine_norm
from skipweave.layers import ChannelSparseConv2d, CrossConv, SpanningStages
from skipweave.topology import Topology
from skipweave.tracing.copies import on_meta
from skipweave.tracing.example_inputs import InputSize, checked_input_size
from skipweave.tracing.replicas import FastMetaNorms
from skipweave_config.errors import SkipweaveError

BATCH = 2  # batch norm cannot be trained on one image where a feature map is 1x1


@dataclass(frozen=True)
class Profile:
    """Cost of a network per image, and its topologies.

    Attributes:
        input_size: Channels, height and width.
        parameters_by_type: Learnable parameters of "convolution", "normalization" (weights and biases of the readers),
            "linear" and "other" layers.
        counts: Operation counts of a forward pass.
        saved_bytes: Bytes per image that a training step saves for backward, without parameters.
        inference_bytes: Peak bytes of activations in inference on one image.
        topologies: Topology of each stage, or the one that spans the stages; of an FC-DenseNet those of blocks, which
            cannot be joined, as blocks read earlier ones than the last too; empty for other networks.
        exit_macs: Multiply-accumulates up to each exit, those before it and the last head included, so that the last
            are more than `macs`; empty for a network without exits.
    """

    input_size: InputSize
    parameters_by_type: dict[str, int]
    counts: Counts
    saved_bytes: int
    inference_bytes: int
    topologies: tuple[Topology, ...]
    exit_macs: tuple[int, ...] = ()

    def __str__(self) -> str:
        """One line with the most important costs.

        >>> import torchvision
        >>> print(profile(torchvision.models.resnet18(), (3, 32, 32)))
        11,689,512 parameters, 37,523,456 multiply-accumulates for an image of 3x32x32
        """
        size = "x".join(map(str, self.input_size))
        links = f", {self.links:,} links" if self.topologies else ""
        return f"{self.parameters:,} parameters, {self.macs:,} multiply-accumulates for an image of {size}{links}"

    @property
    def parameters(self) -> int:
        """Learnable parameters."""
        return sum(self.parameters_by_type.values())

    @property
    def parameters_with_statistics(self) -> int:
        """Learnable parameters, and two running statistics per channel that a reader normalizes.

        This is the count of the papers' form with one batch norm per reader. A concatenated node here has a single pair
        of statistics, so the network stores fewer values.
        """
        return self.parameters + self.parameters_by_type["normalization"]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layers."""
        return self.counts.total_macs

    def operations(self, convention: str) -> int:
        """Operations by the convention of one of the papers.

        Args:
            convention: Key of `skipweave.analysis.operation_counts.CONVENTIONS`.

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
        """Links into the units of all stages."""
        return sum(topology.links for topology in self.topologies)

    @property
    def mean_in_degree(self) -> float:
        """Mean number of nodes that a unit reads (0 without units)."""
        return self.links / self.units if self.units else 0.0

    @property
    def max_in_degree(self) -> int:
        """Largest number of nodes that a unit reads."""
        return max((topology.max_in_degree for topology in self.topologies), default=0)


def profile(model: nn.Module, input_size: tuple[int, int, int] | None = None) -> Profile:
    """Profile a network on a copy on the meta device, without computing anything.

    The model is not changed; it may be on any device, the meta device included.

    Args:
        model: Convolutional network that takes one batch of images.
        input_size: Channels, height and width; by default those of the model's `pretrained_cfg`.

    Raises:
        SkipweaveError: The size is missing or is not three positive numbers, or the model does not accept such images.

    >>> import torchvision
    >>> profile(torchvision.models.densenet121(), (3, 224, 224)).macs
    2834161664
    """
    size = checked_input_size(model, input_size)
    twin = on_meta(model)
    try:
        with FastMetaNorms():
            counts = count(twin, _images(1, size))
            saved = saved_bytes(twin, _images(BATCH, size)) // BATCH
            alive = peak_inference_bytes(twin, _images(1, size))
            exits = exit_macs(twin, _images(1, size))
    except Exception as error:  # networks of other libraries raise any exception
        check_image_size(twin.eval(), size)
        check_image_size(twin, size, batch=BATCH, training=True)
        raise SkipweaveError(f"{name_of(model)} cannot take images of size {size}: {error}") from error
    topologies = topologies_of(model) or _own_topologies(getattr(model, "blocks", ()))
    return Profile(size, parameters_by_type(model), counts, saved, alive, topologies, exits)


def parameters_by_type(model: nn.Module) -> dict[str, int]:
    """Count learnable parameters by type of layer; a shared parameter counts once."""
    kinds = Counter({"convolution": 0, "normalization": 0, "linear": 0, "other": 0})
    seen: set[int] = set()
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                kinds[_kind(module)] += parameter.numel()
                seen.add(id(parameter))
    return dict(kinds)


def _kind(module: nn.Module) -> str:
    if is_affine_norm(module):
        return "normalization"
    if isinstance(module, _ConvNd | CrossConv | ChannelSparseConv2d):
        return "convolution"
    return "linear" if isinstance(module, nn.Linear) else "other"


def exit_macs(model: nn.Module, images: Tensor) -> tuple[int, ...]:
    """Count the multiply-accumulates of `forward_anytime` up to each exit, earlier exits included."""
    if not getattr(model, "exits", ()):
        return ()
    with counting(model) as mode:
        return tuple(mode.macs.total() for _ in model.forward_anytime(images))  # type: ignore[operator]


def topologies_of(model: nn.Module) -> tuple[Topology, ...]:
    """Return the topology of each stage of a model, or the one that spans its stages; empty without stages.

    The virtual node of each topology reads the sources of the stage's reader: the transition, or the last head.
    """
    stages = getattr(model, "stages", ())
    if isinstance(stages, SpanningStages):
        return (stages.plan.as_read,)
    return _own_topologies(stages)


def _own_topologies(parts: object) -> tuple[Topology, ...]:
    """The topologies of the parts of a network that have one."""
    if not isinstance(parts, Iterable):
        return ()
    return tuple(part.topology for part in parts if isinstance(getattr(part, "topology", None), Topology))


def _images(number: int, size: InputSize) -> Tensor:
    return torch.empty(number, *size, device="meta")
