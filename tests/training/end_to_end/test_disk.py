"""A disk that is full or read-only, and a folder that goes away, cost the steps since the last checkpoint."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from skipweave.training import Callback, FitConfig, RunStart, fit
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.run.run_directory import RunDirectory
from skipweave_config.config_files import as_plain
from tests.errors import raises

Tiny = Callable[..., FitConfig]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, make_tiny: Tiny) -> str:
    """Digest of the uninterrupted run's last checkpoint."""
    return open_saved(RunDirectory(fit(make_tiny(tmp_path_factory.mktemp("uninterrupted"))).run_dir).last).info[
        "sha256"
    ]


@pytest.fixture
def begin(run_command, tmp_path: Path, make_tiny: Tiny) -> Callable[[Path], RunDirectory]:
    """Begin a run in a folder, and stop it after 3 steps."""

    def run(output: Path) -> RunDirectory:
        settings = tmp_path / "settings.yaml"
        settings.write_text(yaml.safe_dump(as_plain(make_tiny(output, checkpoint_every=1))))
        assert run_command(["fit", "--config", settings], at="step", number=3, signal="SIGTERM").status == 143
        (run,) = output.iterdir()
        return RunDirectory(run)

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB of its own, where we may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def state_of(folder: RunDirectory) -> tuple[int, int]:
    state = open_saved(folder.last).info["state"]
    open_saved(folder.last).tensors()
    open_saved(folder.previous).tensors()
    return state["epoch"], state["step"]


def assert_stopped(text: str, reason: str, folder: RunDirectory) -> None:
    """One line: what, why, what is kept, how to go on."""
    line = text.splitlines()[-1]
    assert line.startswith("skipweave: error: cannot write ")
    assert reason in line
    assert f"the last good checkpoint is {folder.last}, after " in line
    assert line.endswith(f"resume with: {folder.resume_command}")
    assert "Traceback" not in text


def fill(filler: Path, room: int) -> None:
    """Leave so many bytes free on a disk."""
    filler.touch()
    filler.write_bytes(bytes(max(shutil.disk_usage(filler).free - room, 0)))


@pytest.mark.parametrize("room", [0, pytest.param(40_000, marks=pytest.mark.slow)])
def test_a_full_disk(run_command, begin: Callable[[Path], RunDirectory], small_disk: Path, weights: str, room: int):
    folder, filler = begin(small_disk / "runs"), small_disk / "filler"
    fill(filler, room)
    ended = run_command(["fit", "--resume", folder.path])
    assert ended.status == 2
    assert_stopped(ended.texts[0], "No space left on device", folder)
    assert state_of(folder) >= (0, 3)
    assert not list(folder.path.rglob("*.partial"))
    assert not list(folder.checkpoints.glob(".*"))
    filler.unlink()
    assert run_command(["fit", "--resume", folder.path]).status == 0
    assert open_saved(folder.last).info["sha256"] == weights


def test_a_read_only_disk(run_command, begin: Callable[[Path], RunDirectory], small_disk: Path, weights: str):
    folder = begin(small_disk / "runs")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    ended = run_command(["fit", "--resume", folder.path])
    assert ended.status == 2
    assert_stopped(ended.texts[0], "Read-only file system", folder)
    assert state_of(folder) == (0, 3)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert run_command(["fit", "--resume", folder.path]).status == 0
    assert open_saved(folder.last).info["sha256"] == weights


def test_a_limit_on_the_size_of_files(run_command, begin: Callable[[Path], RunDirectory], tmp_path: Path, weights: str):
    """Fails in the middle of writing a checkpoint, without being root."""
    folder = begin(tmp_path / "runs")
    ended = run_command(["fit", "--resume", folder.path], at="full", number=folder.last.stat().st_size - 1000)
    assert ended.status == 2
    assert_stopped(ended.texts[0], "File too large", folder)
    assert state_of(folder) == (0, 3)
    assert not list(folder.path.rglob("*.partial"))
    assert run_command(["fit", "--resume", folder.path]).status == 0
    assert open_saved(folder.last).info["sha256"] == weights


class Fault(Callback):
    """Injects a fault into the run directory after three steps."""

    def __init__(self, fault: Callable[[RunDirectory], None]) -> None:
        self.fault = fault

    def on_fit_start(self, start: RunStart) -> None:
        self.folder = RunDirectory(start.run_dir)

    def on_step_end(self, epoch: int, step: int) -> None:
        if step == 3:
            self.fault(self.folder)


def test_a_removed_run_directory(tiny: Tiny):
    config = tiny(checkpoint_every=1)
    with raises("last.safetensors", "No such file or directory", config.output):
        fit(config, callbacks=[Fault(lambda folder: shutil.rmtree(folder.path))])
    assert not list(config.output.iterdir())


def test_a_moved_run_directory(tiny: Tiny, tmp_path: Path, weights: str):
    config = tiny(checkpoint_every=1)
    moved = tmp_path / "moved"
    with raises("last.safetensors", config.output):
        fit(config, callbacks=[Fault(lambda folder: folder.path.rename(moved))])
    fit(config, resume=moved)
    assert open_saved(RunDirectory(moved).last).info["sha256"] == weights


def test_a_file_where_a_folder_was(tiny: Tiny):
    config = tiny(checkpoint_every=1)

    def fault(folder: RunDirectory) -> None:
        shutil.rmtree(folder.checkpoints)
        folder.checkpoints.touch()

    with raises("last.safetensors", "Not a directory"):
        fit(config, callbacks=[Fault(fault)])
    (run,) = config.output.iterdir()
    with raises("checkpoints", "File exists"):
        fit(config, resume=run)


def test_an_output_that_cannot_be_written(tiny: Tiny, tmp_path: Path):
    config = replace(tiny(), output=Path("/proc/runs"))
    with raises("/proc/runs"):
        fit(config)


@pytest.mark.parametrize("room", [0, 5_000])
def test_a_run_does_not_start_on_a_full_disk(tiny: Tiny, small_disk: Path, room: int):
    """5,000 bytes are room for the first file in its folder, and not for the second."""
    runs = small_disk / "runs"
    runs.mkdir()
    fill(small_disk / "filler", room)
    with raises(runs, "No space left on device"):
        fit(replace(tiny(), output=runs))
    assert not list(runs.iterdir())


@pytest.mark.slow
def test_checkpoints_stay_intact_whenever_the_disk_becomes_full(
    run_command, begin: Callable[[Path], RunDirectory], small_disk: Path, tmp_path: Path, weights: str
):
    """From no room at all to enough."""
    begun, filler, statuses = begin(tmp_path / "runs"), small_disk / "filler", []
    for room in range(0, 420_000, 20_000):
        folder = RunDirectory(Path(shutil.copytree(begun.path, small_disk / str(room))))
        fill(filler, room)
        ended = run_command(["fit", "--resume", folder.path])
        statuses.append(ended.status)
        if ended.status:
            assert_stopped(ended.texts[0], "No space left on device", folder)
        assert state_of(folder) >= (0, 3)
        filler.unlink()
        assert run_command(["fit", "--resume", folder.path]).status == 0
        assert open_saved(folder.last).info["sha256"] == weights
        assert not list(folder.path.rglob("*.partial"))
        shutil.rmtree(folder.path)
    assert set(statuses) == {0, 2}
    assert statuses == sorted(statuses, reverse=True)
