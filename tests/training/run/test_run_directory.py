"""A run directory is complete from the moment it has its name."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from skipweave.data import Unreadable
from skipweave.training import FitConfig
from skipweave.training.checkpoint.tensor_file import Saved, save
from skipweave.training.run import run_directory
from skipweave.training.run.run_directory import RunDirectory, runs_in
from skipweave_config.errors import SkipweaveError
from tests.errors import raises

Tiny = Callable[..., FitConfig]
NAME = "sparsenet40_24_digits_1"


class Killed(BaseException):
    """What nobody answers, as SIGKILL."""


@pytest.mark.parametrize("place", ["versions", "as_yaml", "sync"])
def test_a_run_killed_as_it_begins_leaves_no_folder_that_looks_like_a_run(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, place: str
):
    """Before versions.json is written, before config.yaml is, and after the folder has its name."""

    def kill(*_: object) -> None:
        raise Killed

    config = tiny()
    with monkeypatch.context() as patch:
        patch.setattr(run_directory, place, kill)
        with pytest.raises(Killed):
            RunDirectory.create(config)
    left = [path.name for path in config.output.iterdir()]
    assert left == ([NAME] if place == "sync" else [f".{NAME}.partial"])
    assert [path.name for path in runs_in(config.output)] == ([NAME] if place == "sync" else [])
    for path in runs_in(config.output):
        assert RunDirectory.reopen(path).read_config() == config
    assert RunDirectory.create(config).path.name == "sparsenet40_24_digits_2"


def test_simultaneous_runs_get_different_directories(tiny: Tiny):
    config = tiny()
    with ThreadPoolExecutor(8) as pool:
        folders = [folder.path for folder in pool.map(lambda _: RunDirectory.create(config), range(24))]
    assert len(set(folders)) == 24
    assert sorted(config.output.iterdir()) == sorted(folders) == sorted(runs_in(config.output))


def test_an_empty_directory_is_not_used(tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    config = tiny()
    (config.output / NAME).mkdir(parents=True)
    assert RunDirectory.create(config).path.name == "sparsenet40_24_digits_2"
    with raises(config.output / NAME):
        RunDirectory.make(config.output / NAME, config)
    monkeypatch.chdir(config.output / NAME)
    with raises("."):
        RunDirectory.make(Path(), config)
    assert list((config.output / NAME).iterdir()) == []


def test_the_partial_directory_of_a_killed_run_is_named(tiny: Tiny):
    config = tiny()
    (config.output / ".mine.partial").mkdir(parents=True)
    with raises(config.output / "mine", config.output / ".mine.partial"):
        RunDirectory.make(config.output / "mine", config)


def test_an_output_that_is_a_dangling_link_raises(tiny: Tiny, tmp_path: Path):
    (tmp_path / "dangling").symlink_to("/nowhere/at/all")
    for output in (tmp_path / "dangling", tmp_path / "dangling" / "deeper"):
        with raises(output):
            RunDirectory.create(replace(tiny(), output=output))


@pytest.mark.parametrize("file", ["ok\u2028x.png", 'a,"b".png', os.fsdecode(b"b\xff.png"), "two\nlines.png"])
def test_skipped_images_of_any_name_are_loaded(tmp_path: Path, file: str):
    images = [Unreadable(number, file, "cannot be read " + "x" * 1000) for number in range(5000)]  # 5 MB of them
    folder = RunDirectory(tmp_path)
    folder.write_skipped(images)
    assert folder.read_skipped() == images


def test_a_name_that_changed_in_a_header_is_damage_and_not_another_network(tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    folder = RunDirectory(tmp_path)
    for path in (folder.previous, folder.last):
        save(path, {"network/weight": torch.ones(2)}, {})
    folder.last.write_bytes(folder.last.read_bytes().replace(b"network/weight", b"network/weioht"))

    def check(saved: Saved) -> None:
        if set(saved.shapes) != {"network/weight"}:
            raise SkipweaveError("another network")

    saved, warning = folder.newest(check)
    assert saved.path == folder.previous
    assert warning.startswith(f"damaged file (its header is not what was written): {folder.last}; resuming from")
