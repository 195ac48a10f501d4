"""Densification in the training loop: when links are added, what the optimizer keeps, and resuming at any step."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from skipweave.training import Callback, DensifyConfig, FitConfig, ModelConfig, fit, load_run
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.densification import Densifier
from skipweave.training.run.run_directory import RunDirectory
from skipweave.transforms import sparsify
from skipweave.transforms.compression.densify import sparse_layers
from skipweave_config.config_files import as_plain


@pytest.mark.parametrize(
    ("config", "start", "expected"),
    [
        (DensifyConfig(every=10), 0.01, {0: 0.01, 9: 0.01, 10: 0.02, 35: 0.08, 69: 0.64, 70: 1.0, 10**6: 1.0}),
        (DensifyConfig(every=5, densities=(0.3, 1.0)), 0.1, {0: 0.1, 5: 0.3, 9: 0.3, 10: 1.0, 99: 1.0}),
        (DensifyConfig(every=5, densities=(0.3, 1.0)), 0.5, {4: 0.5, 5: 0.5, 10: 1.0}),
        (DensifyConfig(), 0.1, {0: 0.1, 1000: 0.1}),
    ],
)
def test_densities(config: DensifyConfig, start: float, expected: dict[int, float]) -> None:
    assert {step: config.density(start, step) for step in expected} == expected


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.01, momentum=0.9),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_equals_that_of_a_masked_dense_network_whose_new_weights_begin_at_zero(name: str) -> None:
    """Old links keep their moments, new ones begin without any; links that are not there feel nothing."""
    torch.manual_seed(0)
    dense = nn.Sequential(
        nn.Conv2d(3, 10, 3), nn.ReLU(), nn.Conv2d(10, 6, 3), nn.Flatten(), nn.Linear(6 * 4, 3)
    ).double()
    sparse = sparsify(dense, 0.2, carry_weights=True, seed=0, input_size=(3, 6, 6)).model
    layer = sparse[2]
    optimizers = [OPTIMIZERS[name](model.parameters()) for model in (dense, sparse)]
    densifier = Densifier(DensifyConfig(every=3, new="zero"), 0.2, seed=5)
    x, labels = torch.randn(8, 3, 6, 6, dtype=torch.float64), torch.arange(8) % 3
    mask = torch.zeros(())
    for step in range(10):
        densifier.prepare(sparse, optimizers[1], step)
        mask = torch.from_numpy(layer.pattern.mask())[:, :, None, None].double()
        if step == 0:
            with torch.no_grad():
                dense[2].weight.mul_(mask)
        for model, optimizer in zip((dense, sparse), optimizers, strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), labels).backward()
            if model is dense:
                dense[2].weight.grad.mul_(mask)
            optimizer.step()
        with torch.no_grad():
            dense[2].weight.mul_(mask)
        torch.testing.assert_close(layer.to_dense().weight, dense[2].weight)
    assert layer.fan_in == 10


class StoppedError(Exception):
    pass


class StopAfter(Callback):
    def __init__(self, steps: int) -> None:
        self.left = steps

    def on_step_end(self, *_: object) -> None:
        self.left -= 1
        if not self.left:
            raise StoppedError


@pytest.fixture(scope="module")
def growing(make_tiny: Callable[..., FitConfig]) -> Callable[..., FitConfig]:
    """Two epochs of 11 steps; links are added before the 6th, 11th, 16th and 21st."""

    def make(output: Path, **changes: object) -> FitConfig:
        args = {"units": 1, "growth": 8, "drop_rate": 0.2, "sparsify": {"density": 0.1}}
        config = make_tiny(output, model=ModelConfig("sparsenet40_24", args), checkpoint_every=1)
        return replace(config, densify=DensifyConfig(every=5), **changes)

    return make


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, growing: Callable[..., FitConfig]) -> RunDirectory:
    return RunDirectory(fit(growing(tmp_path_factory.mktemp("uninterrupted"))).run_dir)


@pytest.mark.parametrize("steps", [3, 5, *(pytest.param(n, marks=pytest.mark.slow) for n in (6, 12, 21))])
def test_a_resumed_run_is_the_uninterrupted_one(
    steps: int, uninterrupted: RunDirectory, growing: Callable[..., FitConfig], tmp_path: Path
) -> None:
    config = growing(tmp_path)
    with pytest.raises(StoppedError):
        fit(config, callbacks=[StopAfter(steps)])
    (run,) = tmp_path.iterdir()
    fit(config, resume=run)
    ours, theirs = open_saved(RunDirectory(run).last), open_saved(uninterrupted.last)
    assert ours.info["sha256"] == theirs.info["sha256"]
    assert open_saved(RunDirectory(run).weights).info["sha256"] == open_saved(uninterrupted.weights).info["sha256"]
    phases = [[(p["density"], p["steps"]) for p in saved.info["state"]["phases"]] for saved in (ours, theirs)]
    assert phases[0] == phases[1]


def test_a_run_reports_its_phases(uninterrupted: RunDirectory) -> None:
    summary = uninterrupted.read_summary()
    assert [(phase.density, phase.steps) for phase in summary.phases] == [
        (0.1, 5),
        (0.2, 5),
        (0.4, 5),
        (0.8, 5),
        (1.0, 2),
    ]
    assert all(phase.steps_per_second > 0 for phase in summary.phases)


def test_the_network_is_loaded_with_the_added_links(uninterrupted: RunDirectory) -> None:
    network, config, _ = load_run(uninterrupted.path, "last")
    assert all(layer.fan_in == layer.in_channels for layer in sparse_layers(network).values())
    assert as_plain(config)["densify"] == {"every": 5, "densities": [], "new": "fresh"}
    assert summary_parameters(uninterrupted) > 0


def summary_parameters(folder: RunDirectory) -> int:
    summary = folder.read_summary()
    return summary.parameters if summary else 0
