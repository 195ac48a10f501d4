"""Links with small weights relative to the other links of their reader, and which of them can be removed."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from skipweave.analysis.link_weights import mean_by_source, numbers, relative
from skipweave.analysis.profile import topologies_of
from skipweave.topology import Link
from skipweave.transforms.node_readers import Reader, readers
from skipweave_config.errors import SkipweaveError


@dataclass(frozen=True)
class LinkWeight:
    """Link and its weight, relative to the largest of the same reader, from 0 to 1."""

    link: Link
    weight: float


@dataclass(frozen=True)
class WeakLinks:
    """Links with a weight below a threshold.

    Attributes:
        below: The threshold.
        removable: Links that can all be removed together.
        kept: Links that cannot be removed, with the reason.
    """

    below: float
    removable: tuple[LinkWeight, ...]
    kept: tuple[tuple[LinkWeight, str], ...]


def link_weights(model: nn.Module) -> tuple[LinkWeight, ...]:
    """Compute the weight of every link that has weights of its own, relative to the largest of its reader.

    For a unit that concatenates, the weight of a link is the mean of |norm weight x convolution weight| over the link's
    channels and over the outputs and taps of the unit's first convolution. The norm weight is that of the reader's
    batch norm before the convolution: the nodes are normalized, so only the product matters, and one factor can grow
    while the other shrinks without changing the network's output. (Figures of reuse leave the norm weight out, as
    SparseNet's Fig. 3 does.) What a channel-sparse convolution does not read counts as zeros. For a convolution across
    nodes (DelugeNets) it is the L2 norm of the link's weights over the channels, as in the paper's Fig. 3; with
    `cross="plain"` nodes are not normalized, and the weights are less comparable.

    Links of the readers of a whole concatenating stage, a transition or a classifier, have no weight.

    Raises:
        SkipweaveError: No reader of the network has a weight per link, or one does not begin with a convolution.
    """
    found = [weight for reader in readers(model) for weight in _weights(reader)]
    if not found:
        raise SkipweaveError(
            "no link of this network has weights of its own: expected a DenseNet, a SparseNet or a DelugeNet"
        )
    return tuple(found)


def weak_links(model: nn.Module, below: float) -> WeakLinks:
    """List the links whose weight (`link_weights`) is below a threshold.

    All removable links can be removed together. Therefore these are kept: the strongest link of each reader, and the
    two strongest of a convolution across nodes, which needs two sources; the strongest link from a node that would
    otherwise have no reader; and the links into a node that is followed by an exit or, where one topology spans the
    stages, into the last node of a stage, since heads and feature maps read the same nodes.

    Args:
        model: Network of concatenated nodes, or a DelugeNet.
        below: Threshold, above 0 and at most 1.

    Raises:
        SkipweaveError: The threshold is out of range, or as for `link_weights`.
    """
    if not 0 < below <= 1:
        raise SkipweaveError(f"below is {below}: expected a number above 0 and at most 1")
    weak = {entry.link: entry for entry in link_weights(model) if entry.weight < below}
    reasons: dict[Link, str] = {}
    for reader in readers(model):
        reasons |= _kept_by_reader(reader, weak)
    reasons |= _last_readers(model, {link: entry.weight for link, entry in weak.items() if link not in reasons})
    return WeakLinks(
        below,
        tuple(entry for link, entry in weak.items() if link not in reasons),
        tuple((entry, reasons[link]) for link, entry in weak.items() if link in reasons),
    )


def _weights(reader: Reader) -> list[LinkWeight]:
    values = relative(_strengths(reader)).tolist()
    links = [Link(reader.stage, reader.node, source) for source in reader.sources]
    return [LinkWeight(link, value) for link, value in zip(links, values, strict=True)]


def _strengths(reader: Reader) -> np.ndarray:
    if reader.cross:
        return np.linalg.norm(numbers(reader.cross[1].weight), axis=1)
    assert reader.concat is not None
    return mean_by_source(reader.convolution[1], reader.concat.widths, reader.concat.weight)


def _kept_by_reader(reader: Reader, weak: dict[Link, LinkWeight]) -> dict[Link, str]:
    """Return the weak links that a reader needs, with the reason."""
    links = [Link(reader.stage, reader.node, source) for source in reader.sources]
    if reader.shared:
        return {link: f"heads read the sources of node {reader.node}" for link in links if link in weak}
    fewest = min(reader.min_sources, len(links))
    strongest_first = sorted(links, key=lambda link: -weak[link].weight if link in weak else -1.0)
    reason = "its reader needs a source" if fewest == 1 else "its reader needs two sources"
    return {link: reason for link in strongest_first[:fewest] if link in weak}


def _last_readers(model: nn.Module, removable: dict[Link, float]) -> dict[Link, str]:
    """Return the strongest link from each node that has only weak links, with the reason."""
    reasons = {}
    for stage, topology in enumerate(topologies_of(model)):
        readers_of: dict[int, list[Link]] = defaultdict(list)
        for reader, sources in enumerate(topology.reads, start=1):
            for source in sources:
                readers_of[source].append(Link(stage, reader, source))
        for source, links in readers_of.items():
            if all(link in removable for link in links):
                reasons[_strongest(links, removable)] = f"node {source} has no other reader"
    return reasons


def _strongest(links: Sequence[Link], weights: dict[Link, float]) -> Link:
    return max(links, key=lambda link: weights[link])
