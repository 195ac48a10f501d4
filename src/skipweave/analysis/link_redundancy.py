"""Links whose weights are small beside those of their reader's other links, and which of them could be removed."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from skipweave.analysis.link_weights import mean_by_source, numbers, relative
from skipweave.analysis.profile import topologies_of
from skipweave.errors import SkipweaveError
from skipweave.topology import Link
from skipweave.transforms.node_readers import Reader, readers


@dataclass(frozen=True)
class LinkWeight:
    """A link and its weight beside the largest of the same reader, from 0 to 1."""

    link: Link
    weight: float


@dataclass(frozen=True)
class WeakLinks:
    """Links whose weight stays under a threshold.

    Attributes:
        below: The threshold.
        removable: Those that can all be removed together.
        kept: Those that have to stay nevertheless, each with the reason.
    """

    below: float
    removable: tuple[LinkWeight, ...]
    kept: tuple[tuple[LinkWeight, str], ...]


def link_weights(model: nn.Module) -> tuple[LinkWeight, ...]:
    """Weigh every link that has weights of its own, each reader's links beside one another.

    A link into a unit that concatenates has the mean over its channels, and over the outputs and taps of the unit's
    first convolution, of |gain x weight|. The gain is the reader's own, of the batch norm before that convolution: the
    nodes are normalized, so a channel counts by gain and weight together, and one can grow while the other shrinks
    without any change of what the network computes. (Figures of reuse leave the gain out, as SparseNet's Fig. 3 does.)
    A link into a convolution across nodes (DelugeNets) has the L2 norm of its weights over the channels, as in the
    paper's Fig. 3; with `cross="plain"` nodes are not normalized, so such a weight says less.

    Either is divided by the largest of the reader. Links of who reads a concatenating stage, a transition or a
    classifier, are not weighed.

    Raises:
        SkipweaveError: No reader of the network weighs its nodes one by one.
    """
    found = [weight for reader in readers(model) for weight in _weights(reader)]
    if not found:
        raise SkipweaveError(
            "no link of this network has weights of its own: expected a DenseNet, its kin, or a DelugeNet"
        )
    return tuple(found)


def weak_links(model: nn.Module, below: float) -> WeakLinks:
    """List the links whose weight (`link_weights`) is under a threshold.

    So that the links that are called removable can all go, these stay: each reader's strongest link, and its two
    strongest where it filters across nodes (one alone would be read without such a convolution); the strongest of a
    node's links where all of them are weak, so that no node is made for nobody; and the links into a node that an exit
    stands behind or, where one topology spans the stages, into a stage's last node: heads and feature maps read
    whatever these read.

    Args:
        model: A network of concatenated nodes, or a DelugeNet.
        below: The threshold, above 0 and at most 1.

    Raises:
        SkipweaveError: The threshold is another number, or no reader weighs its nodes one by one.
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
    return mean_by_source(reader.convolution[1].weight, reader.concat.widths, reader.concat.gain)


def _kept_by_reader(reader: Reader, weak: dict[Link, LinkWeight]) -> dict[Link, str]:
    """Why weak links of a reader stay for its own sake."""
    links = [Link(reader.stage, reader.node, source) for source in reader.sources]
    if reader.followed:
        return {link: f"heads read what node {reader.node} reads" for link in links if link in weak}
    fewest = min(reader.fewest, len(links))
    strongest_first = sorted(links, key=lambda link: -weak[link].weight if link in weak else -1.0)
    reason = "its reader needs a source" if fewest == 1 else "its reader needs two sources"
    return {link: reason for link in strongest_first[:fewest] if link in weak}


def _last_readers(model: nn.Module, removable: dict[Link, float]) -> dict[Link, str]:
    """Why weak links stay for the sake of a node that nobody would read without them: one for each such node."""
    reasons = {}
    for stage, topology in enumerate(topologies_of(model)):
        readers_of: dict[int, list[Link]] = defaultdict(list)
        for reader, sources in enumerate(topology.reads, start=1):
            for source in sources:
                readers_of[source].append(Link(stage, reader, source))
        for source, links in readers_of.items():
            if all(link in removable for link in links):
                reasons[_strongest(links, removable)] = f"nobody else reads node {source}"
    return reasons


def _strongest(links: Sequence[Link], weights: dict[Link, float]) -> Link:
    return max(links, key=lambda link: weights[link])
