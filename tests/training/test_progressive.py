"""Smaller training images in the first epochs."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from skipweave.training import FitConfig, ModelConfig, ProgressiveConfig, fit
from skipweave.training.auxiliary_heads import AllHeads


def seen(config: FitConfig, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The images of every training step of a run."""
    images: list[Tensor] = []
    forward = AllHeads.forward

    def recorded(heads: AllHeads, batch: Tensor) -> list[Tensor]:
        if heads.training:
            images.append(batch.clone())
        return forward(heads, batch)

    with monkeypatch.context() as patch:
        patch.setattr(AllHeads, "forward", recorded)
        fit(config)
    return images


def test_images_are_smaller_in_the_first_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def config(progressive: ProgressiveConfig) -> FitConfig:
        model = ModelConfig("sparsenet40_12", {"units": 1, "growth": 2})
        return FitConfig(model, progressive=progressive, epochs=3, batch_size=600, output=tmp_path, accelerator="cpu")

    full = seen(config(ProgressiveConfig()), monkeypatch)
    images = seen(config(ProgressiveConfig(scale=0.6, epochs=2)), monkeypatch)
    assert [tuple(batch.shape[2:]) for batch in full] == [(8, 8)] * 6
    assert [tuple(batch.shape[2:]) for batch in images] == [(5, 5)] * 4 + [(8, 8)] * 2
    assert torch.equal(images[5], full[5])
    smaller = functional.interpolate(full[0], size=(5, 5), mode="bilinear", antialias=True)
    torch.testing.assert_close(images[0], smaller)
