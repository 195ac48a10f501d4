"""Densification in the training loop: when links are added, what the optimizer keeps, and resuming at any step."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from timm.optim import RMSpropTF
from torch import nn

from skipweave.training import Callback, DensifyConfig, FitConfig, ModelConfig, fit, load_run
from skipweave.training.checkpoint.tensor_file import open_saved, save
from skipweave.training.densification import Densifier
from skipweave.training.distributed.devices import make_fabric
from skipweave.training.distributed.processes import processes
from skipweave.training.distributed.synchronization import StepBuffer
from skipweave.training.learner import Learner
from skipweave.training.model_building import build_network
from skipweave.training.optimization.optimizers import CombinedOptimizer
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.tasks.task import Classification
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
    sparse = sparsify(dense, 0.2, carry_weights=True, seed=0, fully_connected=True, input_size=(3, 6, 6)).model
    layer = sparse[2]
    optimizers = [OPTIMIZERS[name](model.parameters()) for model in (dense, sparse)]
    densifier = Densifier(DensifyConfig(every=3, new="zero"), sparse, {"density": 0.2}, seed=5)
    fabric = make_fabric("cpu")
    x, labels = torch.randn(8, 3, 6, 6, dtype=torch.float64), torch.arange(8) % 3
    mask = torch.zeros(())
    for step in range(10):
        densifier.prepare(sparse, optimizers[1], step, fabric)
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


@pytest.mark.parametrize("combined", [False, True])
def test_mean_squares_of_new_links_begin_as_those_of_the_first(combined: bool) -> None:
    dense = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(8 * 16, 3))
    sparse = sparsify(dense, 0.25, seed=0, input_size=(3, 4, 4)).model
    part: torch.optim.Optimizer = RMSpropTF(sparse[:2].parameters(), lr=0.01, alpha=0.5, momentum=0.9)
    optimizer = CombinedOptimizer([torch.optim.SGD(sparse[2:].parameters(), lr=0.1), part]) if combined else part
    sparse(torch.randn(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    state = optimizer.state[sparse[1].weight]
    before = state["square_avg"].clone()
    assert (before != 1).all()
    densifier = Densifier(DensifyConfig(every=1), sparse, {"density": 0.25}, seed=0)
    assert densifier.prepare(sparse, optimizer, 1, make_fabric("cpu"))
    assert (state["square_avg"] == 1).sum() == (state["momentum_buffer"] == 0).sum() == before.numel()
    torch.testing.assert_close(state["square_avg"].sum(), before.sum() + before.numel())


def two_layers(**options: object) -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 50, 1), nn.Conv2d(50, 130, 1), nn.Conv2d(130, 8, 3))
    return sparsify(model, seed=0, input_size=(3, 8, 8), **options).model


@pytest.mark.parametrize(
    ("options", "config", "expected"),
    [
        # ceil(0.01 c) is 1 and 2, and 17 where 8 outputs have to read 130 channels; then every layer's links double
        (dict(density=0.01), DensifyConfig(every=2), [(1, 17), (2, 34), (4, 68), (8, 130), (16, 130), (32, 130)]),
        (dict(density=0.01, path_rule=False), DensifyConfig(every=2), [(1, 2), (2, 4), (4, 8), (8, 16), (16, 32)]),
        (
            dict(density=0.1, path_rule=False, rounding="above"),
            DensifyConfig(every=2, densities=(0.2, 1.0)),
            [(6, 14), (11, 27), (50, 130)],
        ),
        (
            dict(density=0.1, path_rule=False, multiple=8),
            DensifyConfig(every=2, densities=(0.2, 0.3)),
            [(8, 16), (16, 32), (16, 40)],
        ),
    ],
)
def test_links_double_exactly_or_are_rounded_as_the_first(
    options: dict[str, object], config: DensifyConfig, expected: list[tuple[int, int]]
) -> None:
    model = two_layers(**options)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    densifier, fabric = Densifier(config, model, options, seed=1), make_fabric("cpu")
    found = []
    for step in range(2 * len(expected)):
        added = densifier.prepare(model, optimizer, step, fabric)
        assert added == (step % 2 == 0 and step > 0)
        found.append((model[1].fan_in, model[2].fan_in))
    assert found == [pair for pair in expected for _ in range(2)]


def test_new_links_are_drawn_as_the_first() -> None:
    """Balanced extensions keep reader counts equal; uniform ones do not."""
    spread = {}
    for choice in ("balanced", "uniform"):
        options = dict(density=0.02, choice=choice, path_rule=False)
        model = two_layers(**options)
        densifier = Densifier(DensifyConfig(every=1, densities=(0.5,)), model, options, seed=1)
        densifier.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), 1, make_fabric("cpu"))
        spread[choice] = int(np.ptp(model[1].pattern.readers))
    assert spread["balanced"] <= 1
    assert spread["uniform"] > 10


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


def test_every_phase_has_the_time_of_its_own_steps(
    growing: Callable[..., FitConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StepBuffer, "is_due", lambda buffer: len(buffer) >= 10)  # as on several devices
    config = replace(growing(tmp_path), checkpoint_every=0, epochs=1, densify=DensifyConfig(every=3))
    phases = RunDirectory(fit(config).run_dir).read_summary().phases
    assert [phase.steps for phase in phases] == [3, 3, 3, 2]
    assert all(phase.seconds > 0 for phase in phases)


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


ARGS = {"num_classes": 5, "in_chans": 3}


def train(fabric: Fabric, config: FitConfig, *, resumed_at: int | None = None) -> Learner:
    """Seven steps on random images that differ between processes; links are added before the steps 2, 4 and 6."""
    state = config.output / "state.safetensors"
    learner = Learner(fabric, config, config.model.args | ARGS, Classification(5))
    learner.start_epoch()
    for step in range(7):
        if step == resumed_at:
            if fabric.is_global_zero:
                save(state, *learner.state())
            fabric.barrier()
            learner = Learner(fabric, config, config.model.args | ARGS, Classification(5))
            learner.load_state(open_saved(state))
            learner.start_epoch()
        learner.start_step(step)
        torch.manual_seed(10 * step + fabric.global_rank)
        learner.backward(torch.randn(4, 3, 8, 8), torch.randint(5, (4,)), [1.0])
        learner.optimizer_step(0.1)
    return learner


def save_what_each_process_has(fabric: Fabric, config: FitConfig) -> None:
    for name, resumed_at in (("whole", None), ("resumed", 4)):
        tensors, _ = train(fabric, config, resumed_at=resumed_at).state()
        own = {key: value for key, value in tensors.items() if "running_" not in key}  # each has those of its images
        save(config.output / f"{name}{fabric.global_rank}", own, {})


@pytest.mark.slow
def test_all_processes_have_the_same_links_weights_and_moments(
    tmp_path: Path, growing: Callable[..., FitConfig]
) -> None:
    config = replace(growing(tmp_path), devices=2, densify=DensifyConfig(every=2))
    with processes(config) as (fabric, _):
        fabric.launch(partial(save_what_each_process_has, config=config))
    first, *others = (
        open_saved(tmp_path / f"{name}{rank}").tensors() for rank in range(2) for name in ("whole", "resumed")
    )
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=0)
    network = build_network(config.model.name, config.model.args | ARGS)
    for name, layer in sparse_layers(network).items():
        grown = first[f"network/{name}.weight"]
        assert grown.shape[1] == min(8 * layer.fan_in, layer.in_channels)
        assert first[f"optimizer/{name}.weight/momentum_buffer"].shape == grown.shape


def summary_parameters(folder: RunDirectory) -> int:
    summary = folder.read_summary()
    return summary.parameters if summary else 0
