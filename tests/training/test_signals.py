"""A signal stops a run within a step, saved; resumed, it ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE

import pytest
import yaml

from skipweave.training import Callback, FitConfig, fit
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.distributed.synchronization import STEPS_PER_SYNC
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.signals import SIGNALS, stop_requests
from skipweave_config.config_files import as_plain
from skipweave_config.errors import Stopped

STATUS = {"SIGTERM": 143, "SIGINT": 130, "SIGUSR1": 128 + signal.SIGUSR1}


@pytest.fixture
def settings(tmp_path: Path, tiny: Callable[..., FitConfig]) -> Path:
    """Of a run without checkpoints within its epochs."""
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(as_plain(tiny())))
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, make_tiny: Callable[..., FitConfig]) -> str:
    """Digest of the uninterrupted run's last checkpoint."""
    return open_saved(RunDirectory(fit(make_tiny(tmp_path_factory.mktemp("uninterrupted"))).run_dir).last).info[
        "sha256"
    ]


@pytest.mark.parametrize(
    ("name", "at", "number", "epoch", "step"),
    [
        ("SIGTERM", "step", 3, 0, 3),
        ("SIGINT", "step", 11, 0, 11),  # the last of an epoch
        ("SIGUSR1", "evaluation", 4, 0, 11),
        pytest.param("SIGTERM", "epoch", 1, 1, 1, marks=pytest.mark.slow),
        pytest.param("SIGINT", "evaluation", 24, 2, 0, marks=pytest.mark.slow),  # of the test images
    ],
)
def test_a_signal_stops_a_run_within_a_step(
    run_command, settings: Path, tmp_path: Path, weights: str, name: str, at: str, number: int, epoch: int, step: int
):
    ended = run_command(["fit", "--config", settings], at=at, number=number, signal=name)
    (run,) = (tmp_path / "runs").iterdir()
    assert ended.status == STATUS[name]
    assert ended.texts[0].splitlines()[-1].startswith(f"skipweave: stopped by {name} ")
    assert ended.texts[0].endswith(f"to resume: skipweave fit --resume {run}\n")
    folder = RunDirectory(run)
    state = open_saved(folder.last).info["state"]
    assert (state["epoch"], state["step"]) == (epoch, step)
    assert not folder.summary.exists()
    assert json.loads(folder.log_lines.read_text().splitlines()[-1])["signal"] == name
    assert run_command(["fit", "--resume", run]).status == 0
    assert open_saved(folder.last).info["sha256"] == weights


@pytest.mark.parametrize(("at", "number", "rank"), [
    ("step", 5, 1),
    pytest.param("evaluation", 3, 1, marks=pytest.mark.slow),
    pytest.param("step", 11, 0, marks=pytest.mark.slow),
])  # fmt: skip
def test_processes_stop_at_the_same_step(run_command, settings: Path, tmp_path: Path, at: str, number: int, rank: int):
    """When they next synchronize, whichever of them gets the signal; so that the first saves what both have done."""
    words = ["fit", "--config", settings, "--devices", 2]
    ended = run_command(words, at=at, number=number, rank=rank, signal="SIGTERM", processes=2)
    assert ended.statuses == [143, 143]
    (run,) = (tmp_path / "runs").iterdir()
    assert f"to resume: skipweave fit --resume {run}" in ended.texts[0]
    assert "skipweave:" not in ended.texts[1]
    folder = RunDirectory(run)
    assert open_saved(folder.last).info["state"]["step"] == (11 if at == "evaluation" else max(number, STEPS_PER_SYNC))
    assert run_command(["fit", "--resume", run], processes=2).status == 0
    whole = run_command([*words, "--output", tmp_path / "whole"], processes=2)
    assert whole.status == 0
    (uninterrupted,) = (tmp_path / "whole").iterdir()
    assert open_saved(folder.last).info["sha256"] == open_saved(RunDirectory(uninterrupted).last).info["sha256"]


def test_handlers_are_restored():
    before = [signal.getsignal(number) for number in SIGNALS]
    with stop_requests() as request:
        assert request.signal is None
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert request.signal is signal.SIGTERM
        with stop_requests() as inner:
            assert inner is request
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.fixture
def in_the_foreground() -> Iterator[None]:
    """Hear SIGINT, which shells let background processes ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("in_the_foreground")
def test_a_second_interrupt_stops_at_once():
    with stop_requests() as request:
        os.kill(os.getpid(), signal.SIGINT)
        assert request.signal is signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with stop_requests() as request:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert request.signal is None
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_other_threads_get_no_signals():
    heard: list[object] = []

    def watch() -> None:
        with stop_requests() as request:
            heard.append((request.signal, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert heard == [(None, signal.getsignal(signal.SIGTERM))]


def test_python_scripts_get_the_exit_status(tiny: Callable[..., FitConfig]):
    class Interrupted(Callback):
        def on_step_end(self, epoch: int, step: int) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        fit(tiny(), callbacks=[Interrupted()])
    assert isinstance(caught.value, Stopped)
    assert (caught.value.code, caught.value.signal) == (143, signal.SIGTERM)
    assert "in epoch 1 after 1 of 11 steps" in str(caught.value)


def in_a_terminal() -> None:
    """Be a group of processes of its own, which hears Ctrl-C."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_to_the_parent_reaches_the_processes(settings: Path, tmp_path: Path, name: str):
    """As `skipweave fit --devices 2` starts them; of Ctrl-C a terminal tells the whole group."""
    words = [sys.executable, "-u", "-m", "skipweave", "fit", "--config", settings, "--devices", "2", "--epochs", "999"]
    with subprocess.Popen(words, stdout=PIPE, stderr=PIPE, text=True, preexec_fn=in_a_terminal) as parent:
        while not parent.stdout.readline().startswith("epoch"):
            assert parent.poll() is None, parent.stderr.read()
        send = os.killpg if name == "SIGINT" else os.kill
        send(parent.pid, signal.Signals[name])
        _, said = parent.communicate()
    (run,) = (tmp_path / "runs").iterdir()
    assert parent.returncode == STATUS[name]
    assert said.endswith(f"to resume: skipweave fit --resume {run}\n")
    assert said.count("\n") == 1, said
    saved, note = RunDirectory(run).newest()
    assert saved is not None
    assert not note
