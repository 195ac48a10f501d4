"""HarDNet: links, widths and published counts."""

import pytest
import torch

import skipweave
from skipweave.analysis.profile import profile
from tests.errors import raises


@pytest.mark.parametrize(("name", "parameters", "macs"), [("hardnet68", "17.6", "4.2"), ("hardnet85", "36.7", "9.1")])
def test_published_counts(name: str, parameters: str, macs: str) -> None:
    """Millions of parameters and billions of multiply-accumulates; those of HarDNet-68 are printed as 4.3."""
    with torch.device("meta"):
        costs = profile(skipweave.create_model(name))
    assert (f"{costs.parameters / 1e6:.1f}", f"{costs.macs / 1e9:.1f}") == (parameters, macs)


def test_links_and_widths() -> None:
    with torch.device("meta"):
        stage = skipweave.create_model("hardnet68").stages[0]
    assert stage.topology.reads == ((0,), (1, 0), (2,), (3, 2, 0), (4,), (5, 4), (6,), (7, 6, 4, 0), (8, 7, 5, 3, 1))
    assert stage.widths == (64, 14, 24, 14, 40, 14, 24, 14, 68)
    assert (stage.collect.conv.in_channels, stage.out_width) == (68 + 4 * 14, 128)


def test_wrong_arguments_are_reported_together() -> None:
    with raises("multiplier", 0.5, "strides", (4, 16, 32, 32, 32), "units", 0):
        skipweave.create_model("hardnet68", multiplier=0.5, strides=(4, 16, 32, 32, 32), units=0)
    with raises("multiplier", "'x'", "strides", 4):
        skipweave.create_model("hardnet68", multiplier="x", strides=4)
    with raises("multiplier", 1e300):
        skipweave.create_model("hardnet68", multiplier=1e300)
    with raises("strides", ("a",) * 5):
        skipweave.create_model("hardnet68", strides=("a",) * 5)


@pytest.mark.parametrize("name", ["hardnet68", "fractalnet20"])
@pytest.mark.parametrize("widths", [64, (), "64"])
def test_widths_are_one_per_stage(name: str, widths: object) -> None:
    with raises("widths", repr(widths)):
        skipweave.create_model(name, widths=widths)
