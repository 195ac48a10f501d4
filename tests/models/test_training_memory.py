"""Bytes that a training step keeps for its backward pass, counted; parameters and buffers excluded."""

import pytest
import torch

import skipweave
from skipweave.analysis.memory import saved_bytes

MIB = 2**20
ROWS = [  # name, overrides, side, MiB an image without and with convolutions done again
    ("sparsenet_bc100_24", dict(stem_width=24), 32, 11.5, 3.5),
    ("sparsenet_bc400_12", dict(stem_width=12), 32, 22, 5.5),
    ("densenet_bc100_12", {}, 32, 7.5, 3.5),
    ("densenet40_12", {}, 32, 3.5, 3.3),
    ("densenet121_32", {}, 224, 39, 20),
    ("logdensenet_v1_12_16", {}, 32, 3, 1.7),
]


def kept(name: str, overrides: dict[str, object], side: int, *, lean: bool) -> float:
    with torch.device("meta"):
        model = skipweave.create_model(name, **overrides)
        model.set_grad_checkpointing(lean)
        return saved_bytes(model, torch.empty(2, 3, side, side)) / 2 / MIB


@pytest.mark.parametrize(("name", "overrides", "side", "default", "lean"), ROWS, ids=[row[0] for row in ROWS])
def test_bytes_that_are_kept(name: str, overrides: dict[str, object], side: int, default: float, lean: float) -> None:
    """For comparison: the SparseNet authors' code keeps 31.0, 76.2, 33.2 and 19.3 MiB, torchvision's DenseNet 124.5."""
    assert kept(name, overrides, side, lean=False) <= default
    assert kept(name, overrides, side, lean=True) <= lean


@pytest.mark.slow
def test_a_thousand_layers() -> None:
    """The SparseNet authors' code keeps 216.8 MiB an image."""
    assert kept("sparsenet_bc1001_12", dict(stem_width=12), 32, lean=False) <= 55
    assert kept("sparsenet_bc1001_12", dict(stem_width=12), 32, lean=True) <= 12
