"""A run that is killed and resumed ends as if it had never stopped: bit by bit, with dropout and augmentation on."""

import csv
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml

from skipweave.errors import SkipweaveError
from skipweave.training import FitConfig, fit
from skipweave.training.checkpoint import open_saved
from skipweave.training.config import as_plain
from skipweave.training.run_folder import RunFolder

# Runs `fit` and kills itself, with the signal that nothing can catch, at the moment that is asked for.
KILLED = """
import os, signal, sys
from pathlib import Path
from skipweave.training import FitConfig, Silent, fit, loop
from skipweave.training.settings import read

moment, number = sys.argv[2], int(sys.argv[3])
left = number

def count_down(*args):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

class Killer(Silent):
    def stepped(self, *args):
        if moment == "step":
            count_down()
    def epoch_done(self, row):
        if moment == "epoch":
            count_down()

if moment == "rename":  # in the middle of replacing a file
    replace = os.replace
    os.replace = lambda *names: (count_down(), replace(*names))
if moment == "evaluation":
    score = loop.score
    loop.score = lambda *args: (count_down(), score(*args))[1]
fit(read(FitConfig, Path(sys.argv[1])), progress=Killer())
"""

WALL_CLOCK = ("seconds", "step_seconds")


def kill_at(config: FitConfig, folder: Path, moment: str, number: int) -> RunFolder:
    """Start a run in another process and let it be killed."""
    settings = folder / "settings.yaml"
    settings.write_text(yaml.safe_dump(as_plain(config)))
    done = subprocess.run([sys.executable, "-c", KILLED, settings, moment, str(number)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (run,) = config.output.iterdir()
    return RunFolder(run)


def contents(folder: RunFolder) -> tuple[dict[str, torch.Tensor], dict[str, object], list[dict[str, str]]]:
    """All that a run ends with, wall-clock times aside: tensors, state, rows of metrics.csv."""
    saved = open_saved(folder.last)
    state = dict(saved.info["state"], rows=None)
    with folder.metrics.open(newline="") as file:
        rows = [{key: value for key, value in row.items() if key not in WALL_CLOCK} for row in csv.DictReader(file)]
    return saved.tensors(), state, rows


def assert_same(ours: RunFolder, theirs: RunFolder) -> None:
    (tensors, state, rows), (expected, expected_state, expected_rows) = contents(ours), contents(theirs)
    assert tensors.keys() == expected.keys()
    assert [name for name in tensors if not torch.equal(tensors[name], expected[name])] == []
    assert state == expected_state
    assert rows == expected_rows
    weights = [open_saved(folder.weights).info["sha256"] for folder in (ours, theirs)]
    assert weights[0] == weights[1]
    figures = [
        {key: value for key, value in asdict(summary).items() if key not in ("run_dir", "train_seconds", *WALL_CLOCK)}
        for summary in (ours.read_summary(), theirs.read_summary())
        if summary
    ]
    assert figures[0] == figures[1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, make_tiny: Callable[..., FitConfig]) -> RunFolder:
    config = make_tiny(tmp_path_factory.mktemp("undisturbed"), checkpoint_every=4)
    return RunFolder(fit(config).run_dir)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, make_tiny: Callable[..., FitConfig]) -> Path:
    """A run killed within its second epoch, after its fourth checkpoint."""
    folder = tmp_path_factory.mktemp("killed")
    return kill_at(make_tiny(folder / "runs", checkpoint_every=4), folder, "step", 17).path


@pytest.fixture
def stopped(killed: Path, tmp_path: Path) -> RunFolder:
    """A copy of that run."""
    return RunFolder(Path(shutil.copytree(killed, tmp_path / "stopped")))


@pytest.mark.parametrize(
    ("moment", "number", "workers"),
    [
        pytest.param("step", 3, 0, marks=pytest.mark.slow),  # before the first checkpoint
        ("step", 17, 2),  # within the second epoch
        ("epoch", 1, 0),  # between the epochs
        pytest.param("epoch", 1, 2, marks=pytest.mark.slow),
        ("rename", 8, 0),  # while a checkpoint takes its name
        pytest.param("evaluation", 2, 0, marks=pytest.mark.slow),
        pytest.param("evaluation", 3, 0, marks=pytest.mark.slow),  # of the test images, after the last epoch
    ],
)
def test_a_killed_run_ends_as_the_undisturbed_one(
    tiny: Callable[..., FitConfig], tmp_path: Path, undisturbed: RunFolder, moment: str, number: int, workers: int
):
    config = tiny(checkpoint_every=4)
    config = replace(config, data=replace(config.data, workers=workers))
    folder = kill_at(config, tmp_path, moment, number)
    assert not folder.summary.exists()
    assert fit(config, resume=folder.path).run_dir == folder.path
    assert_same(folder, undisturbed)
    assert not list(folder.path.rglob("*.partial"))


@pytest.mark.slow
def test_a_run_survives_many_kills(tiny: Callable[..., FitConfig], tmp_path: Path, undisturbed: RunFolder):
    """Kills between any two of the writes of a run leave a whole checkpoint, and the one before."""
    for number in range(5, 24, 3):
        config = tiny(checkpoint_every=4, output=tmp_path / str(number))
        folder = kill_at(config, tmp_path, "rename", number)
        saved, note = folder.newest()
        assert saved is not None
        assert not note
        if number > 6:
            open_saved(folder.previous).tensors()
        fit(config, resume=folder.path)
        assert_same(folder, undisturbed)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_may_go_on_with_other_workers(stopped: RunFolder, undisturbed: RunFolder, workers: int):
    config = stopped.read_config()
    fit(replace(config, data=replace(config.data, workers=workers)), resume=stopped.path)
    assert_same(stopped, undisturbed)


def test_a_damaged_last_checkpoint_leaves_the_one_before(stopped: RunFolder, undisturbed: RunFolder):
    stopped.last.write_bytes(stopped.last.read_bytes()[:-5])
    saved, note = stopped.newest()
    assert saved is not None
    assert saved.path == stopped.previous
    assert "damaged" in note
    fit(stopped.read_config(), resume=stopped.path)
    assert_same(stopped, undisturbed)


def test_with_all_checkpoints_damaged_nothing_is_overwritten(stopped: RunFolder):
    for path in (stopped.last, stopped.previous):
        path.write_bytes(b"x" * 100)
    before = {path: path.read_bytes() for path in stopped.path.rglob("*") if path.is_file()}
    with pytest.raises(SkipweaveError, match="damaged") as caught:
        fit(stopped.read_config(), resume=stopped.path)
    assert "\n" not in str(caught.value)
    assert before == {path: path.read_bytes() for path in stopped.path.rglob("*") if path.is_file()}


def test_a_checkpoint_of_another_model_is_refused(tiny: Callable[..., FitConfig], undisturbed: RunFolder):
    config = tiny()
    other = RunFolder(fit(replace(config, model=replace(config.model, args={"units": 1, "growth": 6}))).run_dir)
    os.remove(other.summary)
    other.last.write_bytes(undisturbed.last.read_bytes())
    with pytest.raises(SkipweaveError, match=r"expected sparsenet40_24 with .*'units': 1"):
        fit(other.read_config(), resume=other.path)


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed_go_on_too(tiny: Callable[..., FitConfig], tmp_path: Path):
    undisturbed = RunFolder(fit(tiny(devices=2, checkpoint_every=4, output=tmp_path / "undisturbed")).run_dir)
    config = tiny(devices=2, checkpoint_every=4)
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump(as_plain(config)))
    script = tmp_path / "killed.py"
    script.write_text(KILLED.replace("\nfit(", "\nif __name__ == '__main__':\n    fit("))
    done = subprocess.run([sys.executable, script, settings, "step", "17"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "SIGKILL: the run can be continued" in done.stderr
    (run,) = config.output.iterdir()
    fit(config, resume=run)
    assert_same(RunFolder(run), undisturbed)


def test_a_finished_run_is_not_run_again(undisturbed: RunFolder):
    before = undisturbed.last.stat().st_mtime_ns
    assert fit(undisturbed.read_config(), resume=undisturbed.path) == undisturbed.read_summary()
    assert undisturbed.last.stat().st_mtime_ns == before


def test_other_settings_are_refused_when_resuming(undisturbed: RunFolder):
    config = undisturbed.read_config()
    with pytest.raises(SkipweaveError, match="epochs: 9, not 2"):
        fit(replace(config, epochs=9), resume=undisturbed.path)


def test_a_folder_that_is_no_run_is_refused(tiny: Callable[..., FitConfig], tmp_path: Path):
    with pytest.raises(SkipweaveError, match=r"no config\.yaml"):
        fit(tiny(), resume=tmp_path)
    with pytest.raises(SkipweaveError, match="no such run folder"):
        fit(tiny(), resume=tmp_path / "none")
