"""SIGKILL at random points of a run, saves included, leaves a whole checkpoint, the one before, and nothing stale."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from skipweave.training import FitConfig, ModelConfig, fit
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.run.run_directory import RunDirectory, runs_in
from skipweave_config.config_files import as_plain

Tiny = Callable[..., FitConfig]


def small(make_tiny: Tiny, output: Path) -> FitConfig:
    """30 steps, a checkpoint after each, 3 evaluations."""
    model = ModelConfig("sparsenet40_24", {"units": 1, "growth": 4, "drop_rate": 0.2})
    return make_tiny(output, model=model, epochs=3, batch_size=73, checkpoint_every=1)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, make_tiny: Tiny) -> RunDirectory:
    return RunDirectory(fit(small(make_tiny, tmp_path_factory.mktemp("uninterrupted"))).run_dir)


def faults(rng: random.Random) -> Iterator[dict[str, object]]:
    """In turns: anywhere in time, at something asked of the disk, in the middle of writing a file, at a step."""
    while True:
        yield {"delay": rng.uniform(0.0, 1.0)}
        yield {"at": "disk", "number": rng.randrange(1, 300)}
        yield {"at": "byte", "number": rng.randrange(1, 40_000)}
        yield {"at": rng.choice(("step", "evaluation")), "number": rng.randrange(1, 12)}


def assert_whole(folder: RunDirectory) -> None:
    """What there is of checkpoints is as it was written."""
    if folder.last.exists():
        saved, note = folder.newest()
        assert saved is not None
        assert saved.path == folder.last
        assert not note
        if saved.info["state"]["epoch"] or saved.info["state"]["step"] > 1:
            open_saved(folder.previous).tensors()
    for path in (folder.best, folder.weights):
        if path.exists():
            open_saved(path).tensors()


def assert_nothing_stale(folder: RunDirectory) -> None:
    names = {path.name for path in folder.path.rglob("*") if path.is_file()}
    assert [name for name in names if name.endswith(".partial") or name.startswith(".")] == []


def survive(
    run_command, make_tiny: Tiny, tmp_path: Path, uninterrupted: RunDirectory, kills: int, seed: int
) -> dict[str, int]:
    """Kill run after run, each until it has finished all the same; count the kills by kind."""
    rng = random.Random(seed)
    expected = {name: open_saved(getattr(uninterrupted, name)).info["sha256"] for name in ("last", "best", "weights")}
    counts: dict[str, int] = {}
    way, run = faults(rng), 0
    while sum(counts.values()) < kills:
        run += 1
        output = tmp_path / str(run)
        settings = tmp_path / "settings.yaml"
        settings.write_text(yaml.safe_dump(as_plain(small(make_tiny, output))))
        words, folder = ["fit", "--config", settings], None
        while True:
            fault = next(way) if sum(counts.values()) < kills else {}
            ended = run_command(words, folder=output, **fault)
            begun = runs_in(output)
            assert len(begun) <= 1
            if begun:
                folder = RunDirectory(begun[0])
                words = ["fit", "--resume", folder.path]
            if ended.status == 0:
                break
            assert ended.status < 0, ended.texts  # by a signal
            kind = str(fault.get("at", "delay"))
            counts[kind] = counts.get(kind, 0) + 1
            if folder:
                assert_whole(folder)
        assert folder is not None
        assert {name: open_saved(getattr(folder, name)).info["sha256"] for name in expected} == expected
        assert_nothing_stale(folder)
        assert folder.test_predictions.read_text() == uninterrupted.test_predictions.read_text()
        assert folder.metrics.read_text().count("\n") == 4
    return counts


def test_a_few_random_kills(run_command, make_tiny: Tiny, tmp_path: Path, uninterrupted: RunDirectory):
    assert sum(survive(run_command, make_tiny, tmp_path, uninterrupted, kills=5, seed=1).values()) == 5


@pytest.mark.slow
def test_two_hundred_random_kills(run_command, make_tiny: Tiny, tmp_path: Path, uninterrupted: RunDirectory):
    counts = survive(run_command, make_tiny, tmp_path, uninterrupted, kills=200, seed=2)
    assert sum(counts.values()) == 200
    in_time = counts.pop("delay")  # how many of these meet a run that is not over depends on the machine
    assert in_time
    assert min(counts.values()) >= 10
