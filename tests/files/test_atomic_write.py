import contextlib
import os
from pathlib import Path

import pytest

from skipweave.files.atomic_write import keep_as, remove_partial, replacing, write_text, write_together


def test_a_failed_write_changes_nothing(tmp_path: Path):
    file = tmp_path / "a"
    write_text(file, "old")
    with contextlib.suppress(OSError), replacing(file) as temporary:
        temporary.write_text("half")
        raise OSError("disk is full")
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_the_new_file_is_synced_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("sync"), sync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    write_text(tmp_path / "a", "text")
    assert calls == ["sync", "replace", "sync"]


def test_a_copy_does_not_change_with_the_original(tmp_path: Path):
    file, copy = tmp_path / "a", tmp_path / "b"
    write_text(file, "first")
    keep_as(file, copy)
    write_text(file, "second")
    assert (file.read_text(), copy.read_text()) == ("second", "first")


def test_a_copy_is_written_where_links_are_not_supported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    write_text(tmp_path / "a", "text")
    keep_as(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "text"


def test_temporary_files_of_a_killed_process_are_removed(tmp_path: Path):
    write_text(tmp_path / "a", "text")
    (tmp_path / "b.partial").write_text("half")
    remove_partial(tmp_path)
    assert os.listdir(tmp_path) == ["a"]


def test_temporary_files_of_other_names_are_kept(tmp_path: Path):
    for name in ("a.partial", "a.partial.partial", "b.partial", "a"):
        (tmp_path / name).touch()
    remove_partial(tmp_path, ["a"])
    assert sorted(os.listdir(tmp_path)) == ["a", "b.partial"]


def test_files_are_written_before_the_first_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a").write_text("old")
    renamed: list[str] = []

    def rename(temporary: Path, path: Path) -> None:
        renamed.append(path.name)
        there = sorted(name.removesuffix(".partial") for name in os.listdir(tmp_path))
        assert there == ["a", "b", "c"]
        assert not path.exists()
        temporary.rename(path)

    monkeypatch.setattr(os, "replace", rename)
    names = ("a", "b", "c")
    write_together({tmp_path / name: lambda path, name=name: path.write_text(name) for name in names})
    assert renamed == [*names]
    assert [(tmp_path / name).read_text() for name in names] == [*names]


def test_a_failed_write_names_its_file_and_changes_none(tmp_path: Path):
    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "a").write_text("old")
    writers = {tmp_path / "a": Path.touch, tmp_path / "b": fail, tmp_path / "c": Path.touch}
    with pytest.raises(OSError, match="No space") as caught:
        write_together(writers)
    assert caught.value.filename == str(tmp_path / "b")
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"
