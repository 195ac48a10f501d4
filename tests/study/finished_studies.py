"""Small studies, and what the tests of studies ask of a study's directory."""

import csv
import json
from pathlib import Path
from typing import Any

from skipweave.study.jobs import Job
from skipweave.training import FitConfig, ModelConfig
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave_config.data_config import DataConfig
from skipweave_config.study_config import NetworkConfig, StudyConfig

WALL_CLOCK = ("seconds", "step_ms", "inference_ms", "train_seconds", "cpu_energy_wh", "gpu_energy_wh")


def results_of(folder: Path) -> list[dict[str, str]]:
    """Its table, without what the wall clock told."""
    with (folder / "results.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key not in WALL_CLOCK} for row in csv.DictReader(file)]


def weights_of(folder: Path) -> dict[str, str]:
    """The hash of the weights of each run."""
    runs = (folder / "runs").rglob("model.safetensors")
    return {str(run.relative_to(folder)): open_saved(run).info["sha256"] for run in runs}


def assert_nothing_was_done_twice(folder: Path, runs: int) -> None:
    """One folder a run, and each step of an epoch's end once in its metrics."""
    finished = list((folder / "runs").rglob("summary.json"))
    assert len(finished) == len({path.parents[1] for path in finished}) == runs
    for summary in finished:
        log = [json.loads(line) for line in (summary.parent / "log.jsonl").read_text().splitlines()]
        assert [line["event"] for line in log].count("finished") == 1
    assert not list(folder.rglob("*.partial"))


def jobs_of(labels: list[str], folder: Path) -> list[Job]:
    """Jobs whose work is a stub."""
    return [Job(label, 0, FitConfig(ModelConfig("densenet40_12"), output=folder / label)) for label in labels]


def study_config(output: Path, *, seeds: int, epochs: int, **settings: Any) -> StudyConfig:
    """Two networks on digits that train an epoch in a fraction of a second."""
    networks = [NetworkConfig("densenet40_12", {"units": 1, "growth": [g, g, g]}, f"growth {g}") for g in (2, 3)]
    return StudyConfig(
        networks=networks,
        seeds=list(range(seeds)),
        data=DataConfig(augment=False, validation=0),
        match=None,
        timing_repeats=0,
        epochs=epochs,
        batch_size=128,
        accelerator="cpu",
        output=output,
        **settings,
    )
