"""Channels that nobody reads: found in patterns drawn layer by layer, and given a reader each. Plain data, no torch."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from skipweave.topology import ChannelPattern
from skipweave.tracing.channel_graph import ChannelGraph

Counts = dict[str, NDArray[np.int64]]


def rescue(
    graph: ChannelGraph,
    patterns: Mapping[str, ChannelPattern],
    extend: Callable[[str, ChannelPattern], ChannelPattern],
) -> dict[str, ChannelPattern]:
    """Let every channel be read, so that every link lies on a way from the image to the prediction (the path rule).

    A channel that nobody reads takes the place of one that is read at least twice, in a row of one of the layers that
    could read it: fan-ins stay. Where no row can spare a link, since the layers that see some channels have fewer links
    than there are channels, the smallest of these layers reads one channel more.

    Every output reads something, so once every channel is read, by induction from the network's end, every one has a
    way to the prediction.

    Args:
        graph: The network's.
        patterns: Of the sparse layers, by name; all other layers read all that they see.
        extend: Given a layer's name and pattern, the pattern with one more link a row.
    """
    work = _Rescue(graph, patterns)
    while dead := work.dead():
        stuck = [(maker, channel) for maker, channel in dead if not work.swap(maker, channel)]
        for name in {work.smallest_reader(maker, channel) for maker, channel in stuck}:
            work.patterns[name] = extend(name, work.patterns[name])
        work.count()
    return work.patterns


def unread(graph: ChannelGraph, patterns: Mapping[str, ChannelPattern]) -> list[tuple[str, int]]:
    """Layers and channels that some sparse layer sees and nobody reads."""
    return _Rescue(graph, patterns).dead()


class _Rescue:
    """Patterns, and how often every channel is read."""

    def __init__(self, graph: ChannelGraph, patterns: Mapping[str, ChannelPattern]) -> None:
        self.graph = graph
        self.patterns = dict(patterns)
        self.count()

    def count(self) -> None:
        """Count the rows that read each channel of each layer; the output counts as one, as do dense layers."""
        self.uses: Counts = {name: _row_counts(pattern) for name, pattern in self.patterns.items()}
        self.readers: Counts = {}
        for maker in self.graph.layers:
            total = self.graph.shown[maker].astype(np.int64)
            for reader in self.graph.readers_of(maker):
                channels, places = self.graph.feeds[reader][maker]
                np.add.at(total, channels, self.uses[reader][places] if reader in self.uses else 1)
            self.readers[maker] = total

    def dead(self) -> list[tuple[str, int]]:
        """Channels without a reader, of those that a sparse layer sees, the network's last layers first."""
        return [
            (maker, channel)
            for maker in reversed(self.graph.layers)
            for channel in np.flatnonzero(self.readers[maker] == 0).tolist()
            if self._could_read(maker, channel)
        ]

    def _could_read(self, maker: str, channel: int) -> list[tuple[str, int]]:
        """Sparse layers that see a channel, and its places there."""
        found = []
        for reader in self.graph.readers_of(maker):
            if reader in self.patterns:
                channels, places = self.graph.feeds[reader][maker]
                found += [(reader, place) for place in places[channels == channel].tolist()]
        return found

    def smallest_reader(self, maker: str, channel: int) -> str:
        """Of the sparse layers that see a channel the one with the fewest rows."""
        return min(self._could_read(maker, channel), key=lambda found: len(self.patterns[found[0]].sources))[0]

    def swap(self, maker: str, channel: int) -> bool:
        """Let a row read a channel in place of the one that is read most; say whether there was a link to spare."""
        if self.readers[maker][channel]:
            return True  # another layer's channel has the same place, and was rescued
        offers = [(reader, place, self._spare(reader)) for reader, place in self._could_read(maker, channel)]
        reader, place, spare = max(offers, key=lambda offer: offer[2].max())
        given_up = int(spare.argmax())
        if spare[given_up] < 2:
            return False
        pattern = self.patterns[reader]
        rows, columns = np.nonzero(pattern.sources == given_up)
        chosen = channel % len(rows)  # any will do; so the choices differ
        sources = pattern.sources.copy()
        sources[rows[chosen], columns[chosen]] = place
        sources.sort(axis=1)
        self.patterns[reader] = ChannelPattern(pattern.in_channels, pattern.out_channels, sources)
        self._count_link(reader, given_up, -1)
        self._count_link(reader, place, 1)
        return True

    def _spare(self, reader: str) -> NDArray[np.int64]:
        """For every input of a layer that it reads: how often the channels that come there are read, at the least."""
        least = np.full_like(self.uses[reader], np.iinfo(np.int64).max)
        for maker, (channels, places) in self.graph.feeds[reader].items():
            np.minimum.at(least, places, self.readers[maker][channels])
        made = least < np.iinfo(np.int64).max  # other inputs are the image's
        return np.where(made & (self.uses[reader] > 0), least, self.uses[reader])

    def _count_link(self, reader: str, place: int, change: int) -> None:
        self.uses[reader][place] += change
        for maker, (channels, places) in self.graph.feeds[reader].items():
            np.add.at(self.readers[maker], channels[places == place], change)


def _row_counts(pattern: ChannelPattern) -> NDArray[np.int64]:
    return np.bincount(pattern.sources.ravel(), minlength=pattern.in_channels)
