from pathlib import Path

import pytest

from skipweave.study.executors.run_transfer import pack, sees, shared_mark, unpack


def files_in(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_run_directories_travel_and_replace_older_ones(tmp_path: Path):
    here, there = tmp_path / "here", tmp_path / "there"
    for name, text in {"run_1/config.yaml": "a", "run_1/checkpoints/last": "2", "run_2/log": "b"}.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)
    (there / "run_1" / "checkpoints").mkdir(parents=True)
    (there / "run_1" / "checkpoints" / "last").write_text("1")
    (there / "run_1" / "old").write_text("removed")
    (there / "run_0").mkdir()
    (there / "run_0" / "log").write_text("kept")
    unpack(pack(here), there)
    assert files_in(there) == files_in(here) | {"run_0/log": "kept"}
    assert not [path for path in there.iterdir() if path.name.startswith(".")]


def test_what_is_being_written_is_left_out(tmp_path: Path):
    (tmp_path / ".run_1.partial").mkdir()
    assert pack(tmp_path) == pack(tmp_path / "nothing") == {}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".last.partial").write_text("half")
    (tmp_path / "run" / "log").write_text("whole")
    unpack(pack(tmp_path), tmp_path / "there")
    assert files_in(tmp_path / "there") == {"run/log": "whole"}


def test_a_mark_is_seen_while_the_study_runs(tmp_path: Path):
    with shared_mark(tmp_path) as mark:
        assert sees(mark)
    assert not sees(mark)
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyError), shared_mark(tmp_path):
        raise KeyError
    assert not list(tmp_path.iterdir())
