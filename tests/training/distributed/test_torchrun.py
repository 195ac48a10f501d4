"""Runs whose processes torchrun starts, and starts again when one has died."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from skipweave.training import FitConfig
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.distributed.ports import reserved_port
from skipweave.training.run.run_directory import RunDirectory
from skipweave_config.config_files import as_plain

# Kills the second process in the second epoch of the job's first start.
KILLED = """
import os, signal, sys
from skipweave_cli import main
from skipweave.training.checkpoint.run_state import RunState

steps, count_step = 17, RunState.count_step

def count(*args):
    global steps
    steps -= 1
    count_step(*args)
    if steps == 0 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)

RunState.count_step = count
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def words(tmp_path: Path, tiny: Callable[..., FitConfig]) -> list[object]:
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(as_plain(tiny(devices=2, checkpoint_every=4))))
    return ["fit", "--config", path]


def digest_of_the_only_run(folder: Path) -> str:
    (run,) = folder.iterdir()
    assert RunDirectory(run).summary.exists()
    return open_saved(RunDirectory(run).last).info["sha256"]


def test_restarted_processes_resume_their_run(run_command, words: list[object], tmp_path: Path):
    died = run_command(words, at="step", number=17, rank=1, processes=2)
    assert -9 in died.statuses
    again = {"TORCHELASTIC_RESTART_COUNT": "1"}
    ended = run_command(words, processes=2, environment=again)
    assert ended.status == 0, ended.texts
    assert "5 of 11 steps" in ended.texts[0]
    assert run_command([*words, "--output", tmp_path / "whole"], processes=2, environment=again).status == 0
    assert digest_of_the_only_run(tmp_path / "runs") == digest_of_the_only_run(tmp_path / "whole")


@pytest.mark.slow
def test_only_runs_of_the_same_job_are_resumed(run_command, words: list[object], tmp_path: Path):
    again = {"TORCHELASTIC_RESTART_COUNT": "1"}
    assert run_command(words, processes=2, environment=again).status == 0  # there was nothing to go on with
    digest_of_the_only_run(tmp_path / "runs")
    assert run_command(words, processes=2, environment=again).status == 0  # it was finished
    digest_of_the_only_run(tmp_path / "runs")
    for other in ({}, again | {"TORCHELASTIC_RUN_ID": "another"}):
        assert run_command(words, processes=2, environment=other).status == 0
    assert len(list((tmp_path / "runs").iterdir())) == 3


def test_devices_must_equal_the_processes_of_torchrun(run_command, words: list[object], tmp_path: Path):
    ended = run_command([*words, "--devices", "1"], processes=2)
    assert ended.status == 2
    assert "--devices 2" in ended.texts[0]
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_processes_on_two_machines_train_as_on_one(run_command, words: list[object], tmp_path: Path):
    """Here both machines are this one, each with a torchrun and a process of its own."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1"]
    with reserved_port() as port:
        meeting = ["--master_addr", "localhost", "--master_port", str(port.getsockname()[1])]
        command += [*meeting, "-m", "skipweave", *map(str, words)]
        second = subprocess.Popen([*command[:7], "--node_rank", "1", *command[7:]])
        first = subprocess.run([*command[:7], "--node_rank", "0", *command[7:]], capture_output=True, text=True)
        assert first.returncode == 0, first.stderr
        assert second.wait() == 0
    assert run_command([*words, "--output", tmp_path / "whole"], processes=2).status == 0
    assert digest_of_the_only_run(tmp_path / "runs") == digest_of_the_only_run(tmp_path / "whole")


@pytest.mark.slow
def test_torchrun_restarts_a_killed_process(run_command, words: list[object], tmp_path: Path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--max-restarts", "1"]
    done = subprocess.run([*map(str, [*torchrun, script, *words])], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert run_command([*words, "--output", tmp_path / "whole"], processes=2).status == 0
    assert digest_of_the_only_run(tmp_path / "runs") == digest_of_the_only_run(tmp_path / "whole")
