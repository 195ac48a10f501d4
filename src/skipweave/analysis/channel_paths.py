"""Paths of channels into the units of a network, and how many units differ by their connections.

"The Power of Sparsity in Convolutional Neural Networks" (Changpinyo et al. 2017), section 4, Lemma 1: a dense network
equals prod(n_i!) others, whose hidden channels are permuted; in a sparse one, most channels have connections of their
own.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
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
        distinct: Number of different sets of input channels among the units; 1 if all read the same.
        log10_permutations: Decimal logarithm of the number of permutations of units with the same inputs and the same
            readers, which change no connection; log10(n!) for a hidden layer of n units between dense layers.
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
    several = {name: _times_fed(graph, name, mask.shape[1]) > 1 for name, mask in masks.items()}
    for name, mask in masks.items():
        arriving, fed = np.zeros(mask.shape[1]), _times_fed(graph, name, mask.shape[1]) > 0
        for producer, (channels, places) in graph.feeds[name].items():
            if producer in paths:
                np.add.at(arriving, places, paths[producer][channels])
        paths[name] = mask.astype(np.float64) @ np.where(fed, arriving, 1.0)
        inputs = [row.tobytes() for row in mask]
        readers = _readers(graph, name, masks, several)
        alike = Counter(zip(inputs, readers, strict=True)).values()
        permutations = sum(lgamma(number + 1) for number in alike) / log(10)
        mean = float(paths[name].mean())
        yield LayerPaths(name, len(mask), int(mask[0].sum()), mean, len(set(inputs)), permutations)


def _times_fed(graph: ChannelGraph, reader: str, inputs: int) -> NDArray[np.int64]:
    """Number of channels of other layers that arrive at each input of a layer; 0 for those of the image."""
    places = [places for _, places in graph.feeds[reader].values()]
    return np.bincount(np.concatenate([*places, np.zeros(0, int)]), minlength=inputs)


def _readers(
    graph: ChannelGraph, producer: str, masks: dict[str, NDArray[np.bool_]], shared: dict[str, NDArray[np.bool_]]
) -> list[tuple[object, ...]]:
    """For each unit of a layer: the outputs of other layers that read it.

    Units that reach the network's output, or are added to channels of other layers, are different from all others.
    """
    found: list[list[object]] = [["output", unit] if shown else [] for unit, shown in enumerate(graph.shown[producer])]
    for reader in graph.readers_of(producer):
        for channel, place in zip(*(values.tolist() for values in graph.feeds[reader][producer]), strict=True):
            own = place if shared[reader][place] and masks[reader].shape[1] > 1 else None
            found[channel].append((reader, masks[reader][:, place].tobytes(), own))
    return [tuple(readers) for readers in found]
