"""Studies that are stopped and killed end with the results of an uninterrupted one, and do nothing twice."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import pytest

from skipweave.training.checkpoint.tensor_file import open_saved

WALL_CLOCK = ("seconds", "step_ms", "inference_ms", "train_seconds", "cpu_energy_wh", "gpu_energy_wh")


def words_of(folder: Path, networks: int, seeds: int, **changes: object) -> list[object]:
    """A study of tiny runs of 2 epochs of 5 steps, a checkpoint after each."""
    entries = [
        {"name": "sparsenet40_24", "args": {"units": 1, "growth": growth}, "label": f"growth {growth}"}
        for growth in range(2, 2 + networks)
    ]
    settings = dict(
        networks=json.dumps(entries),
        seeds=list(range(seeds)),
        match="null",
        timing_repeats=0,
        epochs=2,
        batch_size=256,
        checkpoint_every=1,
        processes=1,
        accelerator="cpu",
        output=folder,
    )
    return ["study", *(word for name, value in (settings | changes).items() for word in (f"--{name}", value))]


def results_of(folder: Path) -> list[dict[str, str]]:
    """Its table, without what the wall clock told."""
    with (folder / "results.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key not in WALL_CLOCK} for row in csv.DictReader(file)]


def assert_nothing_was_done_twice(folder: Path, runs: int) -> None:
    """One folder a run, and each step of an epoch's end once in its metrics."""
    finished = list((folder / "runs").rglob("summary.json"))
    assert len(finished) == len({path.parents[1] for path in finished}) == runs
    for summary in finished:
        log = [json.loads(line) for line in (summary.parent / "log.jsonl").read_text().splitlines()]
        assert [line["event"] for line in log].count("finished") == 1
    assert not list(folder.rglob("*.partial"))


def in_a_terminal() -> None:
    """Be a group of processes of its own, which hears Ctrl-C."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.slow)])
def test_a_signal_saves_and_stops_a_study(run_command, tmp_path: Path, name: str):
    folder = tmp_path / "a study"
    stopped = run_command(words_of(folder, networks=2, seeds=1), at="step", number=13, signal=name)  # in the second run
    assert stopped.status == {"SIGTERM": 143, "SIGINT": 130}[name]
    said = stopped.texts[0].splitlines()
    assert said[-1] == f"skipweave: stopped by {name}; to resume: skipweave study --resume '{folder}'"
    assert len(results_of(folder)) == 1
    (last,) = (folder / "runs" / "growth-3").rglob("last.safetensors")
    assert open_saved(last).info["state"]["step"] == 3
    assert "Traceback" not in stopped.texts[0]


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "name"), [(2, "SIGTERM"), (2, "SIGINT"), (2, "SIGUSR1")])
def test_a_signal_stops_the_processes_of_a_study(tmp_path: Path, processes: int, name: str):
    """Sent to the study alone, or by Ctrl-C to all: every run is saved as it stands, and none counts as failed."""
    words = words_of(tmp_path / "study", networks=2, seeds=2, processes=processes, epochs=100_000, checkpoint_every=0)
    command = [sys.executable, "-m", "skipweave", *map(str, words)]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True, preexec_fn=in_a_terminal) as study:
        while sum(path.read_text() != "" for path in (tmp_path / "study").rglob("metrics.csv")) < processes:
            assert study.poll() is None, study.stderr.read()
            time.sleep(0.1)
        send = os.killpg if name == "SIGINT" else os.kill
        send(study.pid, signal.Signals[name])
        said, errors = study.communicate()
    assert study.returncode == 128 + signal.Signals[name]
    assert errors == f"skipweave: stopped by {name}; to resume: skipweave study --resume {tmp_path / 'study'}\n"
    assert "failed" not in said
    saved = [open_saved(path).info["state"] for path in (tmp_path / "study").rglob("last.safetensors")]
    assert len(saved) == processes
    logs = [path.read_text().splitlines()[-1] for path in (tmp_path / "study").rglob("log.jsonl")]
    assert [json.loads(line)["event"] for line in logs] == ["stopped"] * processes


@pytest.mark.slow
def test_a_study_killed_ten_times_equals_the_uninterrupted_one(run_command, tmp_path: Path):
    """40 runs of 10 steps and some 50 files; kills at random steps and files, each after the study has gone on."""
    rng, folder = random.Random(0), tmp_path / "study"
    assert run_command(words_of(tmp_path / "whole", networks=8, seeds=5)).status == 0
    words = words_of(folder, networks=8, seeds=5)
    for _ in range(5):
        assert run_command(words, at="step", number=rng.randrange(4, 32)).status == -9
        assert run_command(words, at="rename", number=rng.randrange(20, 160), folder=folder).status == -9
    assert run_command(words).status == 0
    assert len(results_of(tmp_path / "study")) == 40
    assert results_of(tmp_path / "study") == results_of(tmp_path / "whole")
    for run in (tmp_path / "whole" / "runs").rglob("model.safetensors"):
        ours = tmp_path / "study" / run.relative_to(tmp_path / "whole")
        assert open_saved(ours).info["sha256"] == open_saved(run).info["sha256"]
    assert_nothing_was_done_twice(tmp_path / "study", 40)
