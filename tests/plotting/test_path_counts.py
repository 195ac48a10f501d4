"""Figure of paths into the units of layers."""

import pytest

from skipweave.analysis.channel_paths import LayerPaths
from skipweave.plotting.path_counts import plot_path_counts


def test_paths_and_different_units() -> None:
    layers = [LayerPaths("first", 8, 3, 3.0, 1, 4.6), LayerPaths("second", 4, 2, 6.0, 3, 0.3)]
    above, below = plot_path_counts(layers, "net").axes
    assert above.get_yscale() == "log"
    assert above.lines[0].get_ydata().tolist() == [3.0, 6.0]
    assert [bar.get_height() for bar in below.patches] == pytest.approx([12.5, 75.0])
    assert [tick.get_text() for tick in below.get_xticklabels()] == ["first", "second"]
