"""Auxiliary heads: their loss weights by epoch, and how they are trained."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch

import skipweave
from skipweave.inference import evaluate
from skipweave.models.heads import count_heads
from skipweave.training import FitConfig, LossConfig, ModelConfig, fit
from skipweave.training.auxiliary_heads import AllHeads, LossWeights
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.tasks.deep_supervision import sieve_loss_weights
from skipweave.transforms import build_compressed

Tiny = Callable[..., FitConfig]
EXITS = {"units": 1, "growth": 4, "heads": "stages"}


def test_all_heads_are_the_exits_and_the_last():
    network = skipweave.create_model("sparsenet40_24", **EXITS).eval()
    x = torch.randn(2, 3, 16, 16)
    heads = AllHeads(network)(x)
    assert len(heads) == count_heads(network) == 3
    assert torch.equal(heads[-1], network(x))
    plain = skipweave.create_model("resnet18", num_classes=4).eval()
    assert len(AllHeads(plain)(x)) == count_heads(plain) == 1


@pytest.mark.parametrize(("sparsify", "expected"), [(None, torch.channels_last), (0.5, torch.contiguous_format)])
def test_weights_and_activations_have_the_fastest_memory_format(sparsify: float | None, expected: torch.memory_format):
    """In channels-last order; contiguous where single channels are gathered."""
    network = build_compressed(partial(skipweave.create_model, "resnet18", num_classes=4), {"sparsify": sparsify})
    maps: list[torch.Tensor] = []
    network.maxpool.register_forward_hook(lambda _, given, __: maps.extend(given))
    AllHeads(network)(torch.randn(2, 3, 64, 64))
    other = torch.contiguous_format if expected is torch.channels_last else torch.channels_last
    for tensor in (maps[0], network.conv1.weight):
        assert tensor.is_contiguous(memory_format=expected)
        assert not tensor.is_contiguous(memory_format=other)


def test_loss_weights_by_epoch():
    halves = LossWeights(LossConfig(last_epochs=1), 3, 4)
    assert [halves(epoch) for epoch in range(4)] == [(0.25, 0.25, 0.5)] * 3 + [(0, 0, 1)]
    assert LossWeights(LossConfig(heads="sieve"), 11, 4)(0) == sieve_loss_weights(11)
    assert LossWeights(LossConfig(heads="last"), 3, 4)(0) == (0, 0, 1)
    assert LossWeights(LossConfig(heads=0.4, last_epochs=1), 3, 4)(2) == (0.4, 0.4, 1)
    assert LossWeights(LossConfig(heads=0.4, last_epochs=1), 3, 4)(3) == (0, 0, 1)
    assert LossWeights(LossConfig(), 1, 4)(0) == (1,)
    assert LossWeights(LossConfig(last_epochs=1), 1, 4)(3) == (1,)


@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_exits_are_trained_and_scored_except_in_the_last_epochs(tiny: Tiny, devices: int):
    config = tiny(devices=devices, model=ModelConfig("sparsenet40_24", EXITS))
    one = RunDirectory(fit(replace(config, epochs=1, schedule=replace(config.schedule, milestones=()))).run_dir)
    two = fit(replace(config, schedule=replace(config.schedule, milestones=()), loss=LossConfig(last_epochs=1)))
    before, after = (open_saved(folder.last).tensors("network/") for folder in (one, RunDirectory(two.run_dir)))
    fc = [name for name in before if name.startswith("exits.") and name.endswith("fc.weight")]
    assert len(fc) == 2
    assert all(torch.equal(before[name], after[name]) for name in fc)
    assert not torch.equal(before["head.fc.weight"], after["head.fc.weight"])
    heads = evaluate(two.run_dir, "test")
    assert [head.value for head in heads[:-1]] == list(two.test_exit_values)
    last = ["top1_error", "top1_accuracy", "balanced_accuracy", "macro_f1", "loss"]
    assert list(two.test_metrics) == [*last, "exit1_top1_error", "exit2_top1_error"]
    assert heads[-1].value == two.test_value
    predictions = RunDirectory(two.run_dir).read_test_predictions()
    assert predictions is not None
    assert two.test_value == pytest.approx(100 * predictions.wrong.mean(), abs=1e-12)
