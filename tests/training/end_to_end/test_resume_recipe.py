"""A killed run with everything on that has a state of its own ends bit by bit as the undisturbed one."""

import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml

from skipweave.training import (
    EarlyStoppingConfig,
    EmaConfig,
    FitConfig,
    LossConfig,
    MixConfig,
    OptimConfig,
    ScheduleConfig,
)
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.run.run_directory import RunDirectory
from skipweave_config.config_files import as_plain

Tiny = Callable[..., FitConfig]
KINDS = {
    "adamw": dict(
        optim=OptimConfig(
            "adamw", lr=0.01, weight_decay=0.05, clip_grad=1.0, accumulate=2, args={"betas": [0.9, 0.98]}
        ),
        schedule=ScheduleConfig("cosine", warmup_epochs=0.7),
    ),
    "lamb": dict(  # counts its steps in groups
        optim=OptimConfig("lamb", lr=0.01, clip_grad=0.01, clip_mode="agc", accumulate=2, layer_decay=0.8),
        schedule=ScheduleConfig("plateau", warmup_epochs=0.5, patience=0, gamma=0.5),
        monitor="macro_f1",
    ),
    "muon": dict(
        optim=OptimConfig(
            "muon",
            lr=0.02,
            clip_grad=0.1,
            clip_mode="value",
            accumulate=2,
            groups=[dict(parameters=["stem.*"], epochs=2), dict(parameters=["*.bias"], name="sgd", lr=0.1)],
        ),
        schedule=ScheduleConfig("linear", warmup_epochs=1),
    ),
}
#: 3 epochs of 5 steps; an evaluation of the average and of the network in training has 22 batches each.
MOMENTS = {"step": 8, "epoch": 1, "evaluation": 30, "rename": 8}
CELLS = [
    (kind, moment, devices)
    for kind in KINDS
    for moment in MOMENTS
    for devices in ((1, 2) if moment in ("step", "epoch") else (1,))
]
QUICK = [("adamw", "step", 1), ("lamb", "epoch", 1), ("adamw", "evaluation", 1)]


def configured(make_tiny: Tiny, output: Path, kind: str, devices: int = 1) -> FitConfig:
    return make_tiny(
        output,
        **KINDS[kind],
        ema=EmaConfig(0.9, warmup=True),
        mix=MixConfig(mixup=0.4, cutmix=1.0, probability=0.8, last_epochs=1),
        loss=LossConfig(label_smoothing=0.1),
        early_stopping=EarlyStoppingConfig(2),
        epochs=3,
        batch_size=64,
        devices=devices,
        checkpoint_every=3,
    )


def ending(folder: RunDirectory) -> tuple[dict[str, torch.Tensor], str, list[list[object]], dict[str, object]]:
    """All that a run ends with, wall-clock times aside."""
    saved, summary = open_saved(folder.last), folder.read_summary()
    assert summary
    measured = ("seconds", "step_seconds", "train_seconds", "energy_wh")
    rows = [[value for name, value in row.items() if name not in measured] for row in saved.info["state"]["rows"]]
    figures = {name: value for name, value in asdict(summary).items() if name not in (*measured, "run_dir")}
    return saved.tensors(), open_saved(folder.weights).info["sha256"], rows, figures


@pytest.fixture(scope="module")
def undisturbed(run_command, make_tiny: Tiny, tmp_path_factory) -> Callable[[str, int], RunDirectory]:
    runs: dict[tuple[str, int], RunDirectory] = {}

    def run(kind: str, devices: int) -> RunDirectory:
        if (kind, devices) not in runs:
            output = tmp_path_factory.mktemp("whole") / "runs"
            config = output.with_suffix(".yaml")
            config.write_text(yaml.safe_dump(as_plain(configured(make_tiny, output, kind, devices))))
            ended = run_command(["fit", "--config", config], processes=devices)
            assert ended.status == 0, ended.texts
            (folder,) = output.iterdir()
            runs[kind, devices] = RunDirectory(folder)
        return runs[kind, devices]

    return run


@pytest.mark.parametrize(
    ("kind", "moment", "devices"),
    [pytest.param(*cell, marks=() if cell in QUICK else pytest.mark.slow) for cell in CELLS],
)
def test_the_matrix_of_kills(
    run_command, make_tiny: Tiny, undisturbed, tmp_path: Path, kind: str, moment: str, devices: int
):
    output = tmp_path / "runs"
    output.mkdir()
    config = output.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(as_plain(configured(make_tiny, output, kind, devices))))
    at = dict(at=moment, number=MOMENTS[moment], folder=output)
    killed = run_command(["fit", "--config", config], processes=devices, **at)
    assert killed.status == -signal.SIGKILL, killed.texts
    (path,) = output.iterdir()
    ended = run_command(["fit", "--resume", path], processes=devices)
    assert ended.status == 0, ended.texts
    ours, theirs = ending(RunDirectory(path)), ending(undisturbed(kind, devices))
    assert ours[0].keys() == theirs[0].keys()
    assert [name for name in ours[0] if not torch.equal(ours[0][name], theirs[0][name])] == []
    assert ours[1:] == theirs[1:]
