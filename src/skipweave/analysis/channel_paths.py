"""Paths of channels into the units of a network, and how many units differ by their paths.

"The Power of Sparsity in Convolutional Neural Networks" (Changpinyo et al. 2017), section 4: a dense network equals
prod(n_i!) others, whose hidden channels are permuted; in a sparse one, a channel is likely to have a tree of
connections of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import lgamma, log

import numpy as np
from numpy.typing import NDArray
from torch import nn

from skipweave.layers import ChannelSparseConv2d
from skipweave.tracing.channel_graph import ChannelGraph, channel_graph
from skipweave.tracing.copies import copied
from skipweave.tracing.example_inputs import InputSize
from skipweave.tracing.replicas import trials_of
from skipweave.transforms.attachments import replace_modules


@dataclass(frozen=True)
class LayerPaths:
    """The paths into the output channels of a convolution or linear layer.

    Attributes:
        name: Name of the layer.
        units: Number of its output channels.
        fan_in: Input channels that each of them reads.
        paths: Mean number of paths of channels from the image to a unit.
        distinct: Number of different trees of connections down to the image among the units; 1 if all read the same.
        log10_permutations: Decimal logarithm of the number of permutations of its units that permute equal trees only.
    """

    name: str
    units: int
    fan_in: int
    paths: float
    distinct: int
    log10_permutations: float


def channel_paths(model: nn.Module, input_size: InputSize | None = None) -> tuple[LayerPaths, ...]:
    """Count the paths into the units of each layer, in the order in which the layers run.

    Args:
        model: A network, sparse or dense, with its indices (not on the meta device).
        input_size: Channels, height and width of an image; the default is that of the model's `pretrained_cfg`.

    Raises:
        SkipweaveError: The network is not supported.
    """
    sparse = {name: part for name, part in model.named_modules() if isinstance(part, ChannelSparseConv2d)}
    dense = copied(model)
    replace_modules(dense, {dense.get_submodule(name): part.to_dense() for name, part in sparse.items()})
    graph = channel_graph(dense, trials_of(dense, input_size))
    masks = {name: _mask(sparse.get(name) or dense.get_submodule(name)) for name in graph.layers}
    return tuple(_count(graph, masks))


def _mask(layer: nn.Module) -> NDArray[np.bool_]:
    """Whether an output reads an input, (outputs, inputs); linear layers have a single input, as in the graph."""
    if isinstance(layer, ChannelSparseConv2d):
        return layer.pattern.mask()
    if isinstance(layer, nn.Linear):
        return np.ones((layer.out_features, 1), bool)
    outputs, inputs, groups = (int(getattr(layer, name)) for name in ("out_channels", "in_channels", "groups"))
    return np.kron(np.eye(groups, dtype=bool), np.ones((outputs // groups, inputs // groups), bool))


def _count(graph: ChannelGraph, masks: dict[str, NDArray[np.bool_]]) -> Iterator[LayerPaths]:
    paths: dict[str, NDArray[np.float64]] = {}
    trees: dict[str, list[int]] = {}
    numbers: dict[object, int] = {}  # of each tree
    number = partial(_number, numbers)
    for name, mask in masks.items():
        arriving = np.zeros(mask.shape[1])
        sources: list[list[int]] = [[] for _ in range(mask.shape[1])]
        for producer, (channels, places) in graph.feeds[name].items():
            if producer in paths:
                np.add.at(arriving, places, paths[producer][channels])
                for channel, place in zip(channels.tolist(), places.tolist(), strict=True):
                    sources[place].append(trees[producer][channel])
        image = np.array([not found for found in sources])
        arriving[image] = 1
        inputs = [
            number((name, place) if image[place] else tuple(sorted(found))) for place, found in enumerate(sources)
        ]
        paths[name] = mask @ arriving
        trees[name] = [number((name, *sorted(inputs[place] for place in np.flatnonzero(row)))) for row in mask]
        sizes = np.unique(trees[name], return_counts=True)[1]
        permutations = sum(lgamma(size + 1) for size in sizes.tolist()) / log(10)
        fan_in = int(mask[0].sum())
        yield LayerPaths(name, len(mask), fan_in, float(paths[name].mean()), len(sizes), permutations)


def _number(numbers: dict[object, int], tree: object) -> int:
    return numbers.setdefault(tree, len(numbers))
