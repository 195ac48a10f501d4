"""No pickle is read or written, and nothing runs what it reads: in the sources, and in a network's life."""

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from skipweave_cli import main
from skipweave_config.plain_files import _PlainLoader

SRC = Path(__file__).parents[1] / "src"
MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
CALLS = {"torch.load", "torch.save", "np.load", "np.save", "numpy.load", "yaml.unsafe_load", "yaml.full_load"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
#: Modules by name: of a command, from a table in the source; and a version to be told.
IMPORTING = {"skipweave_cli/__init__.py", "skipweave_cli/commands/env.py"}


def calls(tree: ast.AST) -> Iterator[str]:
    yield from (ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))


def suspicious(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [call for call in calls(tree) if call in CALLS | BUILTINS]
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [name for name in names if name.split(".")[0] in MODULES]
    return found


def test_the_sources_use_no_functions_that_execute_files():
    files = sorted(SRC.rglob("*.py"))
    assert len(files) > 100
    assert {str(path): found for path in files if (found := suspicious(path))} == {}
    text = {path.relative_to(SRC).as_posix(): path.read_text(encoding="utf-8") for path in files}
    assert {name for name, code in text.items() if "import_module(" in code} == IMPORTING
    assert {name for name, code in text.items() if "yaml.load(" in code} == {"skipweave_config/plain_files.py"}
    assert issubclass(_PlainLoader, yaml.SafeLoader)
    assert not issubclass(_PlainLoader, yaml.UnsafeLoader | yaml.FullLoader)


@pytest.mark.parametrize("line", ["import pickle", "from joblib import load", "torch.load(a)", "x = eval('1')"])
def test_the_check_catches(line: str, tmp_path: Path):
    (tmp_path / "a.py").write_text(line)
    assert suspicious(tmp_path / "a.py")


def test_commands_run_without_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def forbidden(*args: Any, **options: Any) -> NoReturn:
        raise AssertionError("a pickle")

    for name in ("load", "loads", "dump", "dumps"):
        monkeypatch.setattr(pickle, name, forbidden)
    for name in ("Unpickler", "Pickler"):
        monkeypatch.setattr(pickle, name, type(name, (), {"__init__": forbidden}))
    monkeypatch.setattr(torch, "load", forbidden)
    monkeypatch.setattr(torch, "save", forbidden)
    tiny = ["--model.name", "sparsenet40_24", "--model.args.units", "2", "--model.args.growth", "2"]
    short = ["--epochs", "1", "--batch_size", "512", "--accelerator", "cpu"]
    assert main(["fit", *tiny, *short, "--data.validation", "100", "--output", str(tmp_path)]) == 0
    run = next(tmp_path.iterdir())
    (run / "summary.json").unlink()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    network = "[{name: sparsenet40_24, args: {units: 1, growth: 2}, label: a}]"
    study = ["--networks", network, "--seeds", "[0]", "--processes", "1", "--match", "null", "--timing_repeats", "1",
             "--time_engines", "false"]  # fmt: skip
    for words in (
        ["fit", "--resume", str(run)],
        ["test", str(run)],
        ["predict", str(tmp_path / "a.png"), "--run", str(run)],
        ["plot", str(run), "--save", str(tmp_path / "plots")],
        ["export", str(run), "--formats", "[onnx, timm]", "--output", str(tmp_path / "exported")],
        ["prune-links", str(run), "--below", "0.9", "--output", str(tmp_path / "thin")],
        ["study", *study, *short, "--output", str(tmp_path / "study")],
    ):
        assert main(words) == 0, words
    kinds = {path.suffix for path in tmp_path.rglob("*") if path.is_file() and "events" not in path.parts}
    assert kinds == {
        ".safetensors",
        ".onnx",
        ".json",
        ".jsonl",
        ".yaml",
        ".csv",
        ".txt",
        ".md",
        ".png",
        ".svg",
        ".html",
    }
