"""The studies that the repository ships can be read, and say what they cost."""

from pathlib import Path

import pytest

from skipweave.study.config import StudyConfig
from skipweave.training.settings import read

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.yaml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_it_can_be_read_and_tells_command_and_cost(path):
    study = read(StudyConfig, path)
    assert study.output == Path("runs") / f"study_{path.stem}"
    header = "".join(line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line[0] == "#")
    assert f"skipweave study --config studies/{path.name}" in header
    assert "Cost:" in header


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_the_families_are_compared(name):
    (path,) = (path for path in STUDIES if path.stem == name)
    titles = {network.title for network in read(StudyConfig, path).networks}
    assert {"DenseNet", "SparseNet", "SparseNet-BC", "ResNet"} <= titles


def test_there_are_some():
    assert {path.stem for path in STUDIES} == {"camvid", "cifar10", "mnist"}
