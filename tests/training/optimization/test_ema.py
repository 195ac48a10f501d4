"""The averaged network: its definition, what is evaluated, saved and loaded."""

import csv
from collections.abc import Callable

import pytest
import torch

from skipweave.inference import evaluate
from skipweave.training import EmaConfig, FitConfig, ModelConfig, fit, load_run
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.distributed.devices import make_fabric
from skipweave.training.learner import EMA, NETWORK, Learner
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.tasks.task import Classification
from skipweave_config.errors import SkipweaveError

Tiny = Callable[..., FitConfig]


@pytest.mark.parametrize("warmup", [False, True])
def test_the_average_is_that_of_its_definition(warmup: bool):
    """Weights and running statistics alike; counts are copied."""
    args = {"units": 1, "growth": 4, "num_classes": 5, "in_chans": 3}
    config = FitConfig(ModelConfig("sparsenet40_24"), ema=EmaConfig(0.9, warmup=warmup), accelerator="cpu")
    learner = Learner(make_fabric("cpu"), config, args, Classification(5))
    assert learner.ema is not None
    torch.manual_seed(0)
    expected: dict[str, torch.Tensor] = {}
    for step in range(4):
        learner.start_epoch()
        learner.start_step(step)
        learner.backward(torch.randn(6, 3, 8, 8), torch.randint(5, (6,)), [1.0])
        learner.optimizer_step(0.1)
        decay = min(0.9, 1 - (1 + step) ** (-2 / 3)) if warmup else 0.9 * (step > 0)  # the first step is copied
        for name, value in learner.network.state_dict().items():
            old = expected.get(name, value)
            mixed = decay * old + (1 - decay) * value if value.is_floating_point() else value
            expected[name] = mixed.clone()
    for name, value in learner.ema.module.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6, msg=name)
    assert not torch.equal(next(learner.ema.module.parameters()), next(learner.network.parameters()))


def test_the_average_is_evaluated_saved_and_loaded(tiny: Tiny):
    config = tiny(ema=EmaConfig(0.8))
    summary = fit(config)
    folder = RunDirectory(summary.run_dir)
    with folder.metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"val_top1_error", "val_raw_top1_error", "val_raw_top1_accuracy"} <= rows[0].keys()
    assert any(row["val_top1_error"] != row["val_raw_top1_error"] for row in rows)
    best = min(rows, key=lambda row: float(row["val_top1_error"]))
    assert summary.val_value == float(best["val_top1_error"])

    saved = open_saved(folder.last)
    averaged, raw = saved.tensors(EMA), saved.tensors(NETWORK)
    assert averaged.keys() == raw.keys()
    last, _, _ = load_run(folder.path, "last")
    assert all(torch.equal(value, averaged[name]) for name, value in last.state_dict().items())
    if best is rows[-1]:
        chosen = open_saved(folder.weights).tensors()
        assert all(torch.equal(value, averaged[name]) for name, value in chosen.items())
    (metrics,) = evaluate(folder.path, "validation")
    assert metrics.compute()["top1_error"] == summary.val_value
    predictions = folder.read_test_predictions()
    assert predictions is not None
    assert summary.test_value == pytest.approx(100 * predictions.wrong.mean(), abs=1e-12)


def test_weights_of_16_bits_have_no_average():
    with pytest.raises(SkipweaveError) as caught:
        FitConfig(ema=EmaConfig(0.9), precision="bf16-true")
    assert caught.value.problems[0].startswith("precision is 'bf16-true': should be bf16-mixed")
