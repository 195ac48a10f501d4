"""Studies on SLURM: here submitit's local executor; on a machine with a cluster of its own, that cluster."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from skipweave.study.executors import slurm_array
from skipweave.study.executors.slurm_array import run_on_slurm
from skipweave.study.runner import run_study
from skipweave_config.cluster_config import ResourcesConfig, SlurmConfig
from skipweave_config.errors import SkipweaveError
from skipweave_config.study_config import StudyConfig
from tests.study.finished_studies import (
    assert_nothing_was_done_twice,
    jobs_of,
    results_of,
    study_config,
    weights_of,
)

pytest.importorskip("submitit")


@pytest.fixture
def local_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """submitit's local executor in the place of SLURM; whose threads it does not limit."""
    run = slurm_array.run_on_slurm
    monkeypatch.setattr("skipweave.study.runner.run_on_slurm", lambda *args: run(*args, cluster="local"))
    monkeypatch.setattr(slurm_array, "_QUEUE_PATIENCE", 0.5)


@pytest.mark.slow
@pytest.mark.usefixtures("local_jobs")
def test_a_study_as_jobs_equals_the_local_one(tmp_path: Path):
    run_study(study_config(tmp_path / "jobs", seeds=2, epochs=2, on="slurm"))
    run_study(study_config(tmp_path / "local", seeds=2, epochs=2, processes=1))
    assert len(results_of(tmp_path / "jobs")) == 4
    assert results_of(tmp_path / "jobs") == results_of(tmp_path / "local")
    assert weights_of(tmp_path / "jobs") == weights_of(tmp_path / "local")
    assert_nothing_was_done_twice(tmp_path / "jobs", 4)


def work(job: Any, send: Any) -> str:
    """What the jobs of these tests do."""
    if job.label == "err":
        raise SkipweaveError("growth is\n-1")
    if job.label == "dies":
        os._exit(7)
    return f"{job.label} done"


@pytest.mark.slow
def test_failed_and_killed_jobs_do_not_stop_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import cloudpickle

    cloudpickle.register_pickle_by_value(__import__("sys").modules[__name__])
    monkeypatch.setattr(slurm_array, "_QUEUE_PATIENCE", 0.5)
    events = []
    jobs = jobs_of(["a", "err", "dies"], tmp_path)
    run_on_slurm(jobs, work, events.append, SlurmConfig(), ResourcesConfig(), tmp_path, cluster="local")
    outcomes = {event.index: event for event in events if event.kind != "started"}
    assert (outcomes[0].kind, outcomes[0].value) == ("done", "a done")
    assert (outcomes[1].kind, outcomes[1].value) == ("failed", "growth is -1")
    assert outcomes[2].kind == "failed"
    assert "see " in outcomes[2].value
    assert sorted(event.index for event in events if event.kind == "started") == [0, 1, 2]


def test_a_machine_without_slurm_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SkipweaveError, match="sbatch"):
        run_on_slurm(jobs_of(["a"], tmp_path), work, print, SlurmConfig(), ResourcesConfig(), tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("srun"), reason="no SLURM here")
def test_a_preempted_study_equals_the_local_one(tmp_path: Path):
    """The runs are asked to stop as by a preemption, and queued again."""
    config = study_config(tmp_path / "jobs", seeds=1, epochs=60, on="slurm")
    command = ["skipweave", "study", "--config", str(_written(config, tmp_path)), "--output", str(config.output)]
    with subprocess.Popen(command) as study:
        while sum(path.stat().st_size > 0 for path in config.output.rglob("metrics.csv")) < 1:
            assert study.poll() is None
            time.sleep(0.1)
        subprocess.run(["scancel", "--signal=USR2", "--name=skipweave", "--state=RUNNING"], check=True)
        assert study.wait() == 0
    run_study(study_config(tmp_path / "local", seeds=1, epochs=60, processes=1))
    assert results_of(tmp_path / "jobs") == results_of(tmp_path / "local")
    assert weights_of(tmp_path / "jobs") == weights_of(tmp_path / "local")
    assert_nothing_was_done_twice(tmp_path / "jobs", 2)
    assert any("resuming" in path.read_text() for path in config.output.rglob("log.txt"))


def _written(config: StudyConfig, folder: Path) -> Path:
    from skipweave_config.config_files import as_yaml

    path = folder / "study.yaml"
    path.write_text(as_yaml(config))
    return path
