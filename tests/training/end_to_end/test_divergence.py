"""Training that diverges stops within a step, says on what, and leaves the last good checkpoint alone."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import Tensor

from skipweave.data import batch_indices, load
from skipweave.training import FitConfig, OptimConfig, fit, loop
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.distributed import processes
from skipweave.training.learner import Learner
from skipweave.training.run.run_directory import RunDirectory
from skipweave_config.errors import SkipweaveError
from tests.errors import assert_reports

Tiny = Callable[..., FitConfig]


def failed(config: FitConfig) -> tuple[RunDirectory, str]:
    with pytest.raises(SkipweaveError) as caught:
        fit(config)
    (run,) = config.output.iterdir()
    return RunDirectory(run), str(caught.value)


def read(folder: RunDirectory) -> dict[str, object]:
    return json.loads(folder.divergence.read_text())


def test_the_batch_of_a_non_finite_loss_is_written(tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    real, read_batches = loop.epoch_loader, 0

    def poisoned(*args: object, **settings: object) -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal read_batches
        for images, labels in real(*args, **settings):  # type: ignore[arg-type]
            read_batches += 1
            yield (images * math.nan, labels) if read_batches == 7 else (images, labels)

    monkeypatch.setattr(loop, "epoch_loader", poisoned)
    config = tiny(checkpoint_every=2)
    folder, message = failed(config)
    divergence = read(folder)
    size = len(load(config.data).train)
    assert divergence["training_images"] == batch_indices(size, config.batch_size, seed=config.seed, epoch=0, step=6)
    assert (divergence["epoch"], divergence["step"], divergence["learning_rate"], divergence["loss"]) == (
        1,
        7,
        0.1,
        "nan",
    )
    assert "loss" in divergence["what"]
    assert_reports(divergence["kept"], folder.last, "6 steps")
    assert_reports(message, divergence["kept"], folder.divergence)
    assert json.loads(folder.log_lines.read_text().splitlines()[-1])["event"] == "failed"
    monkeypatch.undo()
    fit(config, resume=folder.path)  # from what was kept, with good images
    assert not folder.divergence.exists()


def test_the_indices_are_those_of_the_batch(tiny: Tiny):
    config, epoch, step = tiny(), 3, 4
    data = load(config.data)
    order = dict(batch_size=32, seed=5, epoch=epoch, shuffle=True)
    batches = list(loop.epoch_loader(data.train, lambda image: image.float(), **order))
    indices = batch_indices(len(data.train), 32, seed=5, epoch=epoch, step=step)
    assert torch.equal(batches[step][0], torch.stack([data.train[index][0].float() for index in indices]))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", pytest.param("bf16-true", marks=pytest.mark.slow)])
def test_a_learning_rate_that_is_too_large(tiny: Tiny, precision: str):
    """The first step makes weights of 1e30; the second must be the last."""
    config = tiny(precision=precision, optim=OptimConfig(lr=1e30))
    folder, message = failed(config)
    divergence = read(folder)
    assert (divergence["epoch"], divergence["step"], divergence["learning_rate"]) == (1, 2, 1e30)
    assert_reports(message, folder.divergence)
    assert not folder.best.exists()
    assert not folder.last.exists()


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in float16 on the CPU, for which Fabric would take bfloat16."""

    def fabric(config: FitConfig) -> Fabric:
        precision = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))
        return Fabric(accelerator="cpu", devices=1, plugins=[precision])

    monkeypatch.setattr(processes, "_fabric", fabric)


@pytest.mark.usefixtures("half")
def test_a_learning_rate_that_is_too_large_in_half_precision(tiny: Tiny):
    folder, message = failed(tiny(optim=OptimConfig(lr=1e30)))
    assert_reports(message, "loss", folder.divergence)
    assert read(folder)["learning_rate"] == 1e30
    assert not folder.last.exists()


@pytest.mark.usefixtures("half")
def test_gradients_that_are_always_non_finite(tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    """Half precision leaves such steps out and halves the scale of the loss, 65536 at first; not for ever, though."""
    gradients = Learner.backward

    def spoiled(self: Learner, *args: object) -> Tensor:
        sums = gradients(self, *args)  # type: ignore[arg-type]
        next(self.network.parameters()).grad.fill_(math.inf)
        return sums

    monkeypatch.setattr(Learner, "backward", spoiled)
    folder, message = failed(tiny(batch_size=32, checkpoint_every=5))
    assert "the gradients are non-finite at every loss scale" in message
    assert read(folder)["step"] == 17
    assert open_saved(folder.last).info["state"]["step"] == 15


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_non_finite_weight_is_detected_before_it_is_saved(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, value: float):
    descend, steps = Learner.optimizer_step, 0

    def spoil(self: Learner, *rates: Any) -> None:
        nonlocal steps
        descend(self, *rates)
        steps += 1
        if steps == 15:
            list(self.network.parameters())[-1].data[0] = value

    monkeypatch.setattr(Learner, "optimizer_step", spoil)
    folder, message = failed(tiny(checkpoint_every=5))
    assert "epoch 2 at step 4: a weight is non-finite" in message
    assert read(folder)["step"] == 4
    saved, note = folder.newest()
    assert saved is not None
    assert not note
    assert (saved.info["state"]["epoch"], saved.info["state"]["step"]) == (1, 0)
    assert all(torch.isfinite(tensor).all() for tensor in saved.tensors().values())
    assert all(torch.isfinite(tensor).all() for tensor in open_saved(folder.best).tensors().values())


def test_a_non_finite_evaluation_is_never_the_best(tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    evaluate, times = loop.Loop.evaluate, 0

    def spoiled(self: loop.Loop, *args: object, **options: object) -> object:
        nonlocal times
        times += 1
        scores = evaluate(self, *args, **options)  # type: ignore[arg-type]
        if times == 2:
            scores[-1].sums[0] = math.nan
        return scores

    monkeypatch.setattr(loop.Loop, "evaluate", spoiled)
    folder, message = failed(tiny())
    assert "the validation loss is non-finite" in message
    assert open_saved(folder.best).info["epoch"] == 1
    assert open_saved(folder.last).info["state"]["epoch"] == 1
    assert not folder.summary.exists()


def test_the_files_of_the_batch_are_named(tmp_path: Path, make_pairs, class_list, tiny: Tiny):
    from skipweave.data import DataConfig
    from skipweave.training import ModelConfig

    make_pairs(tmp_path / "pictures", [f"picture{number}" for number in range(20)])
    class_list(tmp_path / "pictures")
    small = ModelConfig("fc_logdensenet103", {"units": [1, 1, 1], "growth": 4})
    data = DataConfig(name="masks", root=tmp_path / "pictures", crop=8, validation=4)
    config = tiny(model=small, data=data, batch_size=2, optim=OptimConfig(lr=1e30))
    folder, _ = failed(replace(config, epochs=1))
    assert len(read(folder)["files"]) == 2
    assert all(Path(file).is_file() for file in read(folder)["files"])
