"""Versions and source commit of a run."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from skipweave.ops.cpu.processor import processor
from skipweave.training.run.versions import read_versions, source_commit, versions
from tests.errors import raises


def test_a_run_records_its_machine() -> None:
    found = versions("cpu")
    assert found["processor"].startswith(processor())
    assert found["GPU"] == "none"
    assert found["commit"] == source_commit()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        return subprocess.check_output(["git", "-C", tmp_path, *identity, *words], text=True)

    (tmp_path / "a.py").write_text("1")
    assert source_commit(tmp_path) == ""
    git("init")
    assert source_commit(tmp_path) == ""  # no commit yet
    git("add", "a.py")
    git("commit", "-m", "a")
    git("tag", "v1", "-m", "a")
    assert source_commit(tmp_path) == git("rev-parse", "HEAD")[:12]
    (tmp_path / "b.py").write_text("2")
    assert re.fullmatch("[0-9a-f]{12}", source_commit(tmp_path))
    (tmp_path / "a.py").write_text("2")
    assert re.fullmatch("[0-9a-f]{12}-dirty", source_commit(tmp_path))
    with monkeypatch.context() as patch:
        patch.setenv("GIT_DIR", str(tmp_path / "another"))  # as in a hook
        assert re.fullmatch("[0-9a-f]{12}-dirty", source_commit(tmp_path))
    (tmp_path / "inner").mkdir()
    assert source_commit(tmp_path / "inner") == ""


def test_damaged_versions_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "versions.json"
    assert read_versions(path) == {}
    path.write_text('{"torch": 2}')
    with raises(path, "torch"):
        read_versions(path)
