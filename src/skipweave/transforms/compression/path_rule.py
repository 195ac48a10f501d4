"""The path rule: every channel has a reader, so that every link lies on a path from input to output. No torch."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from skipweave.topology import ChannelPattern
from skipweave.tracing.channel_graph import ChannelGraph

Counts = dict[str, NDArray[np.int64]]


def apply_path_rule(
    graph: ChannelGraph,
    patterns: Mapping[str, ChannelPattern],
    extend: Callable[[str, ChannelPattern], ChannelPattern],
) -> dict[str, ChannelPattern]:
    """Modify patterns so that every channel is read (the path rule of the paper).

    An unread channel replaces a channel with at least two readers in a row of one of the layers that can read it, so
    fan-ins do not change. If no link can be replaced, because the layers have fewer links than channels to read, the
    smallest of these layers gets one more link per row.

    Every output reads at least one input, so once every channel is read, by induction from the end of the network,
    every channel has a path to the output.

    Args:
        graph: Channel graph of the network.
        patterns: Patterns of the sparse layers, by name; all other layers read all their inputs.
        extend: Given a layer's name and pattern, returns the pattern with one more link per row.
    """
    work = _PathRule(graph, patterns)
    while dead := work.dead():
        stuck = [(producer, channel) for producer, channel in dead if not work.swap(producer, channel)]
        for name in {work.smallest_reader(producer, channel) for producer, channel in stuck}:
            work.patterns[name] = extend(name, work.patterns[name])
        work.count()
    return work.patterns


def unread(graph: ChannelGraph, patterns: Mapping[str, ChannelPattern]) -> list[tuple[str, int]]:
    """Layers and channels that sparse layers could read, but no layer reads."""
    return _PathRule(graph, patterns).dead()


class _PathRule:
    """Patterns, and the number of readers of every channel."""

    def __init__(self, graph: ChannelGraph, patterns: Mapping[str, ChannelPattern]) -> None:
        self.graph = graph
        self.patterns = dict(patterns)
        self.count()

    def count(self) -> None:
        """Count the rows that read each channel of each layer; the network's output and dense layers count once."""
        self.uses: Counts = {name: _row_counts(pattern) for name, pattern in self.patterns.items()}
        self.readers: Counts = {}
        for producer in self.graph.layers:
            total = self.graph.shown[producer].astype(np.int64)
            for reader in self.graph.readers_of(producer):
                channels, places = self.graph.feeds[reader][producer]
                np.add.at(total, channels, self.uses[reader][places] if reader in self.uses else 1)
            self.readers[producer] = total

    def dead(self) -> list[tuple[str, int]]:
        """Unread channels that a sparse layer could read, from the network's last layer to the first."""
        return [
            (producer, channel)
            for producer in reversed(self.graph.layers)
            for channel in np.flatnonzero(self.readers[producer] == 0).tolist()
            if self._could_read(producer, channel)
        ]

    def _could_read(self, producer: str, channel: int) -> list[tuple[str, int]]:
        """Sparse layers that could read a channel, with its index among their inputs."""
        found = []
        for reader in self.graph.readers_of(producer):
            if reader in self.patterns:
                channels, places = self.graph.feeds[reader][producer]
                found += [(reader, place) for place in places[channels == channel].tolist()]
        return found

    def smallest_reader(self, producer: str, channel: int) -> str:
        """The sparse layer with the fewest rows among those that could read a channel."""
        return min(self._could_read(producer, channel), key=lambda found: len(self.patterns[found[0]].sources))[0]

    def swap(self, producer: str, channel: int) -> bool:
        """Replace a link to the channel with most readers by one to this channel; return whether that was possible."""
        if self.readers[producer][channel]:
            return True  # another layer's channel has the same index, and was handled
        offers = [(reader, place, self._spare(reader)) for reader, place in self._could_read(producer, channel)]
        reader, place, spare = max(offers, key=lambda offer: offer[2].max())
        replaced = int(spare.argmax())
        if spare[replaced] < 2:
            return False
        pattern = self.patterns[reader]
        rows, columns = np.nonzero(pattern.sources == replaced)
        chosen = channel % len(rows)  # any row would do; this varies the choice
        sources = pattern.sources.copy()
        sources[rows[chosen], columns[chosen]] = place
        sources.sort(axis=1)
        self.patterns[reader] = ChannelPattern(pattern.in_channels, pattern.out_channels, sources)
        self._count_link(reader, replaced, -1)
        self._count_link(reader, place, 1)
        return True

    def _spare(self, reader: str) -> NDArray[np.int64]:
        """For every input that a layer reads: the minimum number of readers of the channels that arrive there."""
        least = np.full_like(self.uses[reader], np.iinfo(np.int64).max)
        for producer, (channels, places) in self.graph.feeds[reader].items():
            np.minimum.at(least, places, self.readers[producer][channels])
        made = least < np.iinfo(np.int64).max  # other inputs are the image's
        return np.where(made & (self.uses[reader] > 0), least, self.uses[reader])

    def _count_link(self, reader: str, place: int, change: int) -> None:
        self.uses[reader][place] += change
        for producer, (channels, places) in self.graph.feeds[reader].items():
            np.add.at(self.readers[producer], channels[places == place], change)


def _row_counts(pattern: ChannelPattern) -> NDArray[np.int64]:
    return np.bincount(pattern.sources.ravel(), minlength=pattern.in_channels)
