"""`model.args.compression` overrides."""

from functools import partial

import pytest
import torch
from torch import nn

import skipweave
from skipweave.layers import ChannelSparseConv2d
from skipweave.transforms import build_compressed
from tests.errors import raises

make = partial(skipweave.create_model, "tutorial_cifar10")


def shapes(**overrides: object) -> list[tuple[int, ...]]:
    model = build_compressed(make, overrides)
    return [tuple(p.weight.shape) for p in model.modules() if isinstance(p, nn.Conv2d | ChannelSparseConv2d)]


def test_numbers_and_mappings() -> None:
    dense = [(64, 3, 5, 5), (64, 64, 5, 5), (384, 64, 6, 6), (192, 384, 1, 1)]
    assert shapes() == dense
    assert shapes(sparsify=None) == dense
    narrow = [(32, 3, 5, 5), (32, 32, 5, 5), (192, 32, 6, 6), (96, 192, 1, 1)]
    assert shapes(depth_multiplier=0.5) == narrow
    assert shapes(depth_multiplier=dict(alpha=0.5, rule="ceil")) == narrow
    assert shapes(sparsify=0.1) == [(64, 3, 5, 5), (64, 7, 5, 5), (384, 64, 6, 6), (192, 384, 1, 1)]
    everywhere = dict(density=0.1, fully_connected=True)
    assert shapes(sparsify=everywhere) == [(64, 3, 5, 5), (64, 7, 5, 5), (384, 7, 6, 6), (192, 39, 1, 1)]
    assert shapes(sparsify=dict(density=0.1, keep=["head.*"]))[:2] == [(64, 1, 5, 5), (64, 7, 5, 5)]
    assert shapes(depth_multiplier=0.5, sparsify=everywhere)[1:] == [(32, 4, 5, 5), (192, 4, 6, 6), (96, 20, 1, 1)]


def test_other_numbers_of_input_channels() -> None:
    assert shapes(in_chans=1, sparsify=0.1)[0] == (64, 1, 5, 5)


def test_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = build_compressed(make, dict(depth_multiplier=0.5, sparsify=0.1))
    assert {value.device.type for value in model.state_dict().values()} == {"meta"}


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (dict(sparsify=dict(densty=0.1)), ("sparsify", "densty")),
        (dict(sparsify=dict(seed=1)), ("sparsify", "density")),
        (dict(depth_multiplier="half"), ("alpha", "'half'")),
    ],
)
def test_wrong_arguments(overrides: dict[str, object], named: tuple[object, ...]) -> None:
    with raises(*named):
        build_compressed(make, overrides)
