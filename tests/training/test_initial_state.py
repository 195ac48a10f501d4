"""Weights that are set by training images: once per run, by images that are not augmented."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from skipweave.data import DataConfig, load
from skipweave.layers import WhiteningStem
from skipweave.training import FitConfig, ModelConfig, OptimConfig, ScheduleConfig, fit
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.learner import Learner
from skipweave.training.run.run_directory import RunDirectory
from tests.training.end_to_end.interruption import Interruption

WEIGHT = "stem.conv.weight"
GROUPS = [
    dict(parameters=["stem.conv.bias"], name="sgd", lr=0.1, epochs=1),
    dict(parameters=["*.bias", "head.*"], name="sgd", lr=0.2),
]


@pytest.fixture
def fast(tiny: Callable[..., FitConfig]) -> FitConfig:
    """Two epochs of four steps of 16x16 digits, of one channel."""
    return tiny(
        model=ModelConfig("sparsenet_fast_64", {"growth": 4}),
        data=DataConfig(validation=700, image_size=16, flip="alternating", shift=2, padding="reflect"),
        optim=OptimConfig("muon", lr=0.1, momentum=0.6, normalize_filters=True, groups=GROUPS),
        schedule=ScheduleConfig("linear"),
        batch_size=160,
        checkpoint_every=1,
    )


def test_the_stem_whitens_the_training_images(fast: FitConfig):
    summary = fit(replace(fast, epochs=1))
    data, stem = load(fast.data), WhiteningStem(1, 24)
    images = torch.stack([data.eval_transform(data.train[index][0]) for index in range(len(data.train))])
    stem.whiten([images])
    saved = open_saved(RunDirectory(summary.run_dir).weights).tensors()[WEIGHT]
    torch.testing.assert_close(saved.abs(), stem.conv.weight.detach().abs(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("steps", [2, 6])
def test_a_resumed_run_ends_as_an_uninterrupted_one(fast: FitConfig, steps: int, monkeypatch: pytest.MonkeyPatch):
    whole = RunDirectory(fit(fast).run_dir)
    with pytest.raises(KeyboardInterrupt):
        fit(fast, callbacks=[Interruption(steps)])
    (stopped,) = (path for path in fast.output.iterdir() if path != whole.path)
    monkeypatch.setattr(WhiteningStem, "whiten", None)  # weights are loaded
    fit(fast, resume=stopped)
    ours, theirs = (open_saved(folder.last).tensors() for folder in (RunDirectory(stopped), whole))
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


def test_parameters_of_fewer_epochs_have_a_schedule_of_these(fast: FitConfig, monkeypatch: pytest.MonkeyPatch):
    rates: list[tuple[float, float]] = []
    real = Learner.optimizer_step

    def watched(self: Learner, *given: Any) -> None:
        real(self, *given)
        groups = {tuple(map(id, group["params"])): group["lr"] for group in self.optimizer.param_groups}
        rates.append((groups[id(self.network.stem.conv.bias),], self.optimizer.param_groups[0]["lr"]))

    monkeypatch.setattr(Learner, "optimizer_step", watched)
    fit(fast)
    stem, filters = zip(*rates, strict=True)
    assert stem == pytest.approx([0.1, 0.075, 0.05, 0.025, 0, 0, 0, 0])
    assert filters == pytest.approx([0.1 * (1 - step / 8) for step in range(8)])


def test_weights_of_another_run_are_kept(fast: FitConfig, monkeypatch: pytest.MonkeyPatch):
    first = RunDirectory(fit(replace(fast, epochs=1)).run_dir)
    monkeypatch.setattr(WhiteningStem, "whiten", None)
    second = RunDirectory(fit(replace(fast, epochs=1, start=first.path)).run_dir)
    ours, theirs = (open_saved(folder.weights).tensors()[WEIGHT] for folder in (second, first))
    assert torch.equal(ours, theirs)
