"""Smaller training images in the first epochs."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from skipweave.training import FitConfig, ModelConfig, ProgressiveConfig, fit
from skipweave.training.auxiliary_heads import AllHeads
from skipweave_config.errors import SkipweaveError
from skipweave_config.validation import validate


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
        return FitConfig(model, progressive=progressive, epochs=4, batch_size=600, output=tmp_path, accelerator="cpu")

    full = seen(config(ProgressiveConfig()), monkeypatch)
    images = seen(config(ProgressiveConfig(scale=(0.5, 0.6), epochs=(1, 2))), monkeypatch)
    assert [tuple(batch.shape[2:]) for batch in full] == [(8, 8)] * 8
    sides = [4] * 2 + [5] * 4 + [8] * 2
    assert [tuple(batch.shape[2:]) for batch in images] == [(side, side) for side in sides]
    assert torch.equal(images[7], full[7])
    for batch in (0, 2):
        smaller = functional.interpolate(full[batch], size=images[batch].shape[2:], mode="bilinear", antialias=True)
        torch.testing.assert_close(images[batch], smaller)


@pytest.mark.parametrize("scalars", [True, False])
def test_one_scale_may_be_a_number(scalars: bool):
    values = {"scale": 0.5, "epochs": 2} if scalars else {"scale": [0.5], "epochs": [2]}
    assert validate(ProgressiveConfig, values) == ProgressiveConfig(scale=(0.5,), epochs=(2,))


def test_every_scale_has_its_epochs():
    with pytest.raises(SkipweaveError) as caught:
        ProgressiveConfig(scale=(0.5, 0.75), epochs=(2,))
    (problem,) = caught.value.problems
    assert problem.startswith("epochs is (2,):")
    assert ProgressiveConfig(scale=(0.5, 0.75), epochs=(0,)).stages == ()
    assert ProgressiveConfig(scale=(0.5, 0.75), epochs=(0, 2)).stages == ((0.75, 2),)
