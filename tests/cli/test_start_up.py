"""Help, mistakes and the list of models import neither torch nor skipweave."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from skipweave_cli import COMMANDS

#: Runs the commands of stdin one after another, and prints the status of each and the heavy modules imported so far.
PROGRAM = """
import contextlib, io, json, sys
from skipweave_cli import main
for words in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        status = main(words)
    heavy = [name for name in ("torch", "timm", "torchvision", "numpy", "skipweave") if name in sys.modules]
    print(json.dumps([status, heavy]))
"""

HELP = [["--help"], ["--version"], [], *([command, "--help"] for command in COMMANDS)]
MISTAKES = [
    ["fitt"],
    ["--halp"],
    ["models", "squeezenet"],
    ["show"],
    ["predict", "a.png", "--run", "a", "--model", "b"],
    ["predict", "--model", "b"],
    ["publish", "a", "--tag", "A"],
    ["fit", "--epoch", "3"],
    ["fit", "--epochs"],
    ["fit", "--epochs", "many", "--optim.lr", "-1"],
    ["fit", "--batch_size", "63", "--devices", "2"],
    ["fit", "--data.name", "cifra10"],
    ["fit", "--model.args.grwoth", "3"],
    ["fit", "--model.name", "sparsenet40_24", "--model.args.growth", "3", "--epochs", "0"],
    ["fit", "--config", "none.yaml"],
    ["fit", "--config", "wrong.yaml"],
    ["fit", "--resume", "nowhere"],
    ["study", "--seeds", "1,1"],
    ["study", "--networks", "[{name: densenet40_12, args: {unitz: 3}}]"],
    ["check-data", "--data.name", "mnist"],
]
ANSWERS = [["models"], ["models", "sparsenet*"], ["fit", "--print_config"], ["study", "--print_config"]]


def run(words: list[list[str]], folder: Path) -> list[tuple[int, list[str]]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(words), cwd=folder, capture_output=True, text=True, check=True
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "status"), [(HELP, 0), (MISTAKES, 2), (ANSWERS, 0)], ids=["help", "mistakes", "answers"]
)
def test_answers_import_nothing_heavy(words: list[list[str]], status: int, tmp_path: Path):
    (tmp_path / "wrong.yaml").write_text("epohcs: 3\nmodel: {name: densenet40_12, args: {growth: [1, 2, 3]}}\n")
    assert list(zip(words, run(words, tmp_path), strict=True)) == [(one, (status, [])) for one in words]
