import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skipweave.study.executors import process_pool
from skipweave.study.executors.events import Event, one_line
from skipweave.study.executors.process_pool import run_in_processes, run_serially
from skipweave_config.errors import SkipweaveError


def work(job, tell):
    """What the jobs of these tests do; at module level, so that another process can import it."""
    if job == "die":
        os._exit(7)
    if job == "err":
        raise SkipweaveError("growth is\n-1")
    if job == "bug":
        raise KeyError("x")
    tell(f"working on {job}")
    return f"{job} done"


JOBS = ["a", "err", "die", "b", "bug", "c"]
RESULTS = {
    0: ("done", "a done"),
    1: ("failed", "growth is -1"),
    2: ("failed", "its process died (exit code 7)"),
    3: ("done", "b done"),
    4: ("failed", "KeyError: 'x'"),
    5: ("done", "c done"),
}


@pytest.fixture
def importable(monkeypatch):
    """Spawned processes import this file by its name: they need its folder on their path."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(work, "__module__", Path(__file__).stem)
    monkeypatch.setitem(sys.modules, Path(__file__).stem, sys.modules[__name__])


def outcomes(events):
    return {event.index: (event.kind, event.value) for event in events if event.kind in ("done", "failed")}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_failed_and_killed_jobs_do_not_stop_others(monkeypatch):
    """Here processes are forked: each of those that are spawned would import torch."""
    forking = multiprocessing.get_context("fork")
    monkeypatch.setattr(process_pool.multiprocessing, "get_context", lambda _: forking)
    events = []
    run_in_processes(JOBS, work, events.append, 2)
    assert outcomes(events) == RESULTS
    assert Event(3, "progress", "working on b") in events


def test_a_failed_job_in_this_process_does_not_stop_others():
    events = []
    run_serially(["a", "err", "b"], work, events.append)
    assert outcomes(events) == {0: RESULTS[0], 1: RESULTS[1], 2: RESULTS[3]}
    assert [event.kind for event in events if event.index == 0] == ["started", "progress", "done"]


@pytest.mark.slow
def test_an_interrupt_stops_the_processes(importable):
    def interrupt(event):
        if event.kind == "progress":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_processes(["a"], work, interrupt, 1)


def test_an_interrupt_in_this_process_is_raised():
    def stop(job, tell):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_serially(["a"], stop, [].append)


FOREVER = """
import os, sys, time
from skipweave.study.executors.process_pool import run_in_processes
def work(job, tell):
    while True:
        tell(os.getpid())
        time.sleep(0.05)
def show(event):
    if event.kind == "progress":
        print(event.value, flush=True)
if __name__ == "__main__":
    run_in_processes(["a"], work, show, 1)
"""


def runs(process):
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
def test_killing_the_parent_stops_the_processes(tmp_path):
    script = tmp_path / "forever.py"
    script.write_text(FOREVER)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
    end = time.monotonic() + 600
    while runs(child):
        assert time.monotonic() < end, f"process {child} goes on without its parent"
        time.sleep(0.05)


def test_one_line_has_the_type_of_unexpected_errors():
    assert one_line(SkipweaveError("a\n b")) == "a b"
    assert one_line(RuntimeError("out of memory")) == "RuntimeError: out of memory"
    assert one_line(ValueError()) == "ValueError"
