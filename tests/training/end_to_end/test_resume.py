"""A run that is killed and resumed ends as if it had never stopped: bit by bit, with dropout and augmentation on."""

import csv
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from skipweave.data import DataConfig
from skipweave.training import DensifyConfig, FitConfig, LossConfig, ModelConfig, OptimConfig, ScheduleConfig, fit
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.run.run_directory import RunDirectory
from skipweave_config.config_files import as_plain
from tests.errors import assert_reports, raises

MEASURED = ("seconds", "step_seconds", "energy_wh", "cpu_energy_wh", "gpu_energy_wh")


@pytest.fixture(scope="session")
def kill_at(run_command) -> Callable[..., RunDirectory]:
    """Run a configuration in a process of its own, or in two, and let it be killed."""

    def kill(config: FitConfig, moment: str, number: int) -> RunDirectory:
        config.output.mkdir(parents=True)
        settings = config.output.with_suffix(".yaml")
        settings.write_text(yaml.safe_dump(as_plain(config)))
        words = ["fit", "--config", settings]
        ended = run_command(words, at=moment, number=number, folder=config.output, processes=config.devices)
        assert ended.status == -signal.SIGKILL, ended.texts
        (run,) = config.output.iterdir()
        return RunDirectory(run)

    return kill


def timeless(values: dict[str, Any]) -> dict[str, Any]:
    """A row, a phase or a summary without what differs from run to run."""
    kept = {key: value for key, value in values.items() if key not in MEASURED}
    return kept | {"phases": [timeless(phase) for phase in kept["phases"]]} if "phases" in kept else kept


def contents(folder: RunDirectory) -> tuple[dict[str, torch.Tensor], dict[str, object], list[dict[str, str]]]:
    """All that a run ends with, wall-clock times aside: tensors, state, rows of metrics.csv."""
    saved = open_saved(folder.last)
    phases = [timeless(phase) for phase in saved.info["state"]["phases"]]
    state = dict(saved.info["state"], rows=None, phases=phases)
    with folder.metrics.open(newline="") as file:
        rows = [timeless(row) for row in csv.DictReader(file)]
    return saved.tensors(), state, rows


def assert_same(ours: RunDirectory, theirs: RunDirectory) -> None:
    (tensors, state, rows), (expected, expected_state, expected_rows) = contents(ours), contents(theirs)
    assert tensors.keys() == expected.keys()
    assert [name for name in tensors if not torch.equal(tensors[name], expected[name])] == []
    assert state == expected_state
    assert rows == expected_rows
    weights = [open_saved(folder.weights).info["sha256"] for folder in (ours, theirs)]
    assert weights[0] == weights[1]
    figures = [
        {key: value for key, value in timeless(asdict(summary)).items() if key not in ("run_dir", "train_seconds")}
        for summary in (ours.read_summary(), theirs.read_summary())
        if summary
    ]
    assert figures[0] == figures[1]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, make_tiny: Callable[..., FitConfig]) -> RunDirectory:
    config = make_tiny(tmp_path_factory.mktemp("uninterrupted"), checkpoint_every=4)
    return RunDirectory(fit(config).run_dir)


@pytest.fixture(scope="module")
def killed(kill_at, tmp_path_factory: pytest.TempPathFactory, make_tiny: Callable[..., FitConfig]) -> Path:
    """A run killed within its second epoch, after its fourth checkpoint."""
    return kill_at(make_tiny(tmp_path_factory.mktemp("killed") / "runs", checkpoint_every=4), "step", 17).path


@pytest.fixture
def stopped(killed: Path, tmp_path: Path) -> RunDirectory:
    """A copy of that run."""
    return RunDirectory(Path(shutil.copytree(killed, tmp_path / "stopped")))


@pytest.mark.parametrize(
    ("moment", "number", "workers"),
    [
        pytest.param("step", 3, 0, marks=pytest.mark.slow),  # before the first checkpoint
        ("step", 17, 2),  # within the second epoch
        ("epoch", 1, 0),  # between the epochs
        ("rename", 8, 0),  # while a checkpoint takes its name
        ("evaluation", 14, 0),  # of the validation images, after the second epoch
        pytest.param("evaluation", 24, 0, marks=pytest.mark.slow),  # of the test images, after the last
    ],
)
def test_a_killed_and_resumed_run_equals_the_uninterrupted_one(
    kill_at, tiny: Callable[..., FitConfig], uninterrupted: RunDirectory, moment: str, number: int, workers: int
):
    config = tiny(checkpoint_every=4)
    config = replace(config, data=replace(config.data, workers=workers))
    folder = kill_at(config, moment, number)
    assert not folder.summary.exists()
    assert fit(config, resume=folder.path).run_dir == folder.path
    assert_same(folder, uninterrupted)
    assert not list(folder.path.rglob("*.partial"))


@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_stopped_after_an_epoch_and_resumed_equals_the_uninterrupted_one(
    tiny: Callable[..., FitConfig], uninterrupted: RunDirectory, devices: int
):
    """Also with a schedule over all epochs, which the first part does not shorten."""
    config = tiny(devices=devices)
    whole = RunDirectory(fit(replace(config, output=config.output / "whole")).run_dir) if devices > 1 else uninterrupted
    part = fit(config, stop_after=1)
    folder = RunDirectory(part.run_dir)
    assert (part.epochs, part.test_metrics, len(folder.metrics.read_text().splitlines())) == (1, {}, 2)
    assert folder.read_summary() is None
    assert part.val_metrics == validation_metrics(whole, epoch=1)
    assert fit(config, stop_after=1, resume=folder.path).epochs == 1
    assert fit(config, resume=folder.path).run_dir == folder.path
    assert_same(folder, whole)
    assert fit(config, resume=folder.path, stop_after=1) == folder.read_summary()


def validation_metrics(folder: RunDirectory, epoch: int) -> dict[str, float]:
    return open_saved(folder.last).info["state"]["rows"][epoch - 1]["val_metrics"]


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory, make_pairs, class_list) -> FitConfig:
    """A run of 2 epochs of 6 steps with crops, mirroring, dropout and balanced classes."""
    root = tmp_path_factory.mktemp("pictures")
    make_pairs(root, [f"picture{number}" for number in range(20)])
    class_list(root)
    return FitConfig(
        model=ModelConfig("fc_logdensenet103", {"units": [1, 1, 1], "growth": 4, "proj_drop_rate": 0.1}),
        data=DataConfig(name="masks", root=root, crop=8, validation=4),
        optim=OptimConfig("rmsprop", lr=1e-3, momentum=0, nesterov=False),
        schedule=ScheduleConfig(milestones=(), decay=0.9),
        loss=LossConfig(class_weights="median_frequency"),
        epochs=2,
        batch_size=2,
        accelerator="cpu",
    )


@pytest.fixture(scope="module")
def configuration(make_tiny: Callable[..., FitConfig], masks: FitConfig) -> Callable[..., FitConfig]:
    """Balanced labels, masks, or a network that gains links before the 6th, 11th, 16th and 21st step."""

    def make(kind: str, output: Path, workers: int = 0, devices: int = 1) -> FitConfig:
        config = masks if kind == "masks" else make_tiny(output)
        if kind == "links":
            args = {"units": 1, "growth": 8, "drop_rate": 0.2, "sparsify": {"density": 0.1, "choice": "uniform"}}
            config = replace(config, model=ModelConfig("sparsenet40_24", args), densify=DensifyConfig(every=5))
        if kind == "labels":
            balanced = replace(config.data, sampling="balanced")
            config = replace(config, data=balanced, loss=LossConfig(class_weights="balanced"))
        data = replace(config.data, workers=workers)
        return replace(config, data=data, devices=devices, output=output, checkpoint_every=4)

    return make


@pytest.fixture(scope="module")
def whole(run_command, tmp_path_factory: pytest.TempPathFactory, configuration) -> Callable[[str, int], RunDirectory]:
    """The uninterrupted run of a kind in so many processes."""

    @cache
    def run(kind: str, devices: int) -> RunDirectory:
        output = tmp_path_factory.mktemp("whole")
        settings = output.with_suffix(".yaml")
        settings.write_text(yaml.safe_dump(as_plain(configuration(kind, output, devices=devices))))
        ended = run_command(["fit", "--config", settings], processes=devices)
        assert ended.status == 0, ended.texts
        (folder,) = output.iterdir()
        return RunDirectory(folder)

    return run


# The second epoch's middle, the end of the first epoch, and the evaluation after the second.
MOMENTS = {
    "labels": {"step": 17, "epoch": 1, "evaluation": 14},
    "masks": {"step": 9, "epoch": 1, "evaluation": 6},
    "links": {"step": 17, "epoch": 1, "evaluation": 14},
}
CELLS = [
    (kind, moment, workers, devices)
    for kind in MOMENTS
    for moment in ("step", "epoch", "evaluation")
    for workers in (0, 4)
    for devices in (1, 2)
]
QUICK = [("masks", "evaluation", 4, 1), ("labels", "step", 0, 2)]


@pytest.mark.parametrize(
    ("kind", "moment", "workers", "devices"),
    [pytest.param(*cell, marks=() if cell in QUICK else pytest.mark.slow) for cell in CELLS],
)
def test_the_matrix_of_kills(
    run_command, kill_at, configuration, whole, tmp_path: Path, kind: str, moment: str, workers: int, devices: int
):
    config = configuration(kind, tmp_path / "runs", workers, devices)
    number = MOMENTS[kind][moment]
    if (kind, moment, devices) == ("masks", "evaluation", 2):
        number = 3  # each process has half of the 4 images
    folder = kill_at(config, moment, number)
    ended = run_command(["fit", "--resume", folder.path], processes=devices)
    assert ended.status == 0, ended.texts
    assert_same(folder, whole(kind, devices))
    assert not list(folder.path.rglob("*.partial"))


@pytest.mark.parametrize("workers", [0, 2])
def test_another_number_of_workers_may_resume(stopped: RunDirectory, uninterrupted: RunDirectory, workers: int):
    config = stopped.read_config()
    fit(replace(config, data=replace(config.data, workers=workers)), resume=stopped.path)
    assert_same(stopped, uninterrupted)


def test_a_damaged_last_checkpoint_is_replaced_by_the_previous_one(stopped: RunDirectory, uninterrupted: RunDirectory):
    stopped.last.write_bytes(stopped.last.read_bytes()[:-5])
    saved, note = stopped.newest()
    assert saved is not None
    assert saved.path == stopped.previous
    assert_reports(note, stopped.last)
    fit(stopped.read_config(), resume=stopped.path)
    assert_same(stopped, uninterrupted)


def test_with_all_checkpoints_damaged_nothing_is_overwritten(stopped: RunDirectory):
    for path in (stopped.last, stopped.previous):
        path.write_bytes(b"x" * 100)
    before = {path: path.read_bytes() for path in stopped.path.rglob("*") if path.is_file()}
    with raises(stopped.last):
        fit(stopped.read_config(), resume=stopped.path)
    assert before == {path: path.read_bytes() for path in stopped.path.rglob("*") if path.is_file()}


def test_a_checkpoint_of_another_model_raises(tiny: Callable[..., FitConfig], uninterrupted: RunDirectory):
    config = tiny()
    other = RunDirectory(fit(replace(config, model=replace(config.model, args={"units": 1, "growth": 6}))).run_dir)
    os.remove(other.summary)
    other.last.write_bytes(uninterrupted.last.read_bytes())
    with raises("sparsenet40_24", "'units': 1"):
        fit(other.read_config(), resume=other.path)


def test_another_number_of_processes_raises(stopped: RunDirectory):
    """It would be another run: each process normalizes by its own part of a batch."""
    config = stopped.read_config()
    with raises("devices", 2, 1):
        fit(replace(config, devices=2), resume=stopped.path)


def test_a_finished_run_is_not_repeated(uninterrupted: RunDirectory):
    before = uninterrupted.last.stat().st_mtime_ns
    assert fit(uninterrupted.read_config(), resume=uninterrupted.path) == uninterrupted.read_summary()
    assert uninterrupted.last.stat().st_mtime_ns == before


def test_resuming_with_another_config_raises(uninterrupted: RunDirectory):
    config = uninterrupted.read_config()
    with raises("epochs", 1, 2):
        fit(replace(config, epochs=1), resume=uninterrupted.path)


def test_resuming_another_directory_raises(tiny: Callable[..., FitConfig], tmp_path: Path):
    with raises(tmp_path, "config.yaml"):
        fit(tiny(), resume=tmp_path)
    with raises(tmp_path / "none"):
        fit(tiny(), resume=tmp_path / "none")
