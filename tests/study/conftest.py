import math

import pytest

from skipweave.study.results import Cost, Epoch, Network, Results, Run, Timing


@pytest.fixture(scope="session")
def results():
    """Made by hand: two networks with two seeds, one failed run, one network that could not be built."""
    networks = (
        Network("plain", "sparsenet40_24", {"topology": "plain"}, Cost(30_211, 1_600_000, 15, 5, 2.25)),
        Network("SparseNet <2>", "sparsenet40_24", {"growth": 16}, Cost(30_510, 1_750_000, 24, 2, 1.5)),
        Network("broken", "sparsenet40_24", {"growth": [1, 2]}, failure="growth has 2 entries & needs 3"),
    )
    curve = tuple(Epoch(i, 2 * math.exp(-i / 4), 60 * math.exp(-i / 3), 70 * math.exp(-i / 3)) for i in range(1, 9))
    runs = (
        Run("plain", 0, "runs/plain/seed-0", 3.25, 12.3, curve=curve),
        Run("plain", 1, "runs/plain/seed-1", 2.75, 12.1, curve=curve[:5]),
        Run("SparseNet <2>", 0, "runs/sparsenet-2/seed-0", 1.5, 14.0, curve=curve),
        Run("SparseNet <2>", 1, "runs/sparsenet-2/seed-1", failure="loss became NaN at step 12"),
    )
    return Results(
        "Plain or sparse?",
        networks,
        runs,
        {"plain": Timing(6.1, 8.8), "SparseNet <2>": Timing(7.2, 9.9)},
        "the last epoch's weights",
        360,
        {"Data and split": [("test", "360 images")], "Machine": [("device", "cpu")]},
        "medians of 20 interleaved repeats",
        ("skipweave study --config study.yaml",),
    )
