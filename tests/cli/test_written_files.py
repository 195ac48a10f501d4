"""Files are equal, byte by byte, in every process."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.cli import written_files

ROOT = Path(__file__).parents[2]
SUFFIXES = {".safetensors", ".onnx", ".csv", ".json", ".jsonl", ".yaml", ".md", ".txt", ".html", ".svg", ".png", ".pdf"}


def written_elsewhere(folder: Path, seed: int, *words: str) -> dict[Path, bytes]:
    """Write in a process that orders sets by another hash."""
    command = [sys.executable, "-m", "tests.cli.written_files", str(folder), *words]
    surroundings = {**os.environ, "PYTHONHASHSEED": str(seed)}
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return contents(folder)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def different(some: dict[Path, bytes], others: dict[Path, bytes]) -> list[str]:
    return sorted(str(path) for path in some.keys() | others.keys() if some.get(path) != others.get(path))


def test_another_process_writes_the_same_bytes(tmp_path: Path):
    written_files.write(tmp_path / "here", written_files.QUICK)
    here = contents(tmp_path / "here")
    kinds = Counter(path.suffix for path in here)
    assert kinds[".safetensors"] == 4  # last, best, the network and what timm gets
    assert not {".csv", ".json", ".svg", ".yaml"} - kinds.keys()
    assert different(here, written_elsewhere(tmp_path / "there", 1, "quick")) == []


@pytest.mark.slow
def test_files_of_every_kind_are_the_same_in_every_process(tmp_path: Path):
    first, second = (written_elsewhere(tmp_path / str(seed), seed) for seed in (1, 2))
    assert not SUFFIXES - {path.suffix for path in first}
    assert different(first, second) == []
