"""Bytes saved for the backward pass of a training step, without parameters and buffers."""

import pytest
import torch

import skipweave
from skipweave.analysis.memory import saved_bytes

MIB = 2**20
MODELS = [  # name, overrides, side, maximum MiB per image without and with activation checkpointing
    ("sparsenet_bc100_24", dict(stem_width=24), 32, 11.5, 3.5),
    ("sparsenet_bc400_12", dict(stem_width=12), 32, 22, 5.5),
    ("densenet_bc100_12", {}, 32, 7.5, 3.5),
    ("densenet40_12", {}, 32, 3.5, 3.3),
    ("densenet121_32", {}, 224, 39, 20),
    ("logdensenet_v1_12_16", {}, 32, 3, 1.7),
]


def saved(name: str, overrides: dict[str, object], side: int, *, checkpointing: bool) -> float:
    with torch.device("meta"):
        model = skipweave.create_model(name, **overrides)
        model.set_grad_checkpointing(checkpointing)
        return saved_bytes(model, torch.empty(2, 3, side, side)) / 2 / MIB


@pytest.mark.parametrize(
    ("name", "overrides", "side", "default", "checkpointed"), MODELS, ids=[model[0] for model in MODELS]
)
def test_saved_bytes(name: str, overrides: dict[str, object], side: int, default: float, checkpointed: float) -> None:
    """The SparseNet authors' code saves 31.0, 76.2, 33.2 and 19.3 MiB, torchvision's DenseNet 124.5 MiB."""
    assert saved(name, overrides, side, checkpointing=False) <= default
    assert saved(name, overrides, side, checkpointing=True) <= checkpointed


@pytest.mark.parametrize("name", ["sparsenet40_24", "densenet40_12", "sparsenet_bc100_24", "delugenet146"])
def test_saved_bytes_under_autocast(name: str) -> None:
    """In bfloat16 at most 0.6 of those in float32, also with activation checkpointing."""
    model, images = skipweave.create_model(name), torch.zeros(2, 3, 32, 32)
    for checkpointing in (False, True):
        model.set_grad_checkpointing(checkpointing)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = saved_bytes(model, images)
        assert half <= 0.6 * saved_bytes(model, images)


@pytest.mark.slow
def test_saved_bytes_of_a_thousand_layers() -> None:
    """The SparseNet authors' code saves 216.8 MiB per image."""
    assert saved("sparsenet_bc1001_12", dict(stem_width=12), 32, checkpointing=False) <= 55
    assert saved("sparsenet_bc1001_12", dict(stem_width=12), 32, checkpointing=True) <= 12
